"""What SafeGen says on the page, in the language that the WebUI is set to.

Every sentence stands in the code in English. That sentence is also its key in the files of
``localizations/``, which the WebUI's own page reads for labels. `say` looks there too, and puts
values in only then: so a translation may order them as it likes. What a room further in has
`told` in English comes through `spoken`.

Infotext, the log and the command line stay English: programs read them, or other people.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from safegen.sentence import Told

FOLDER = Path(__file__).resolve().parents[2] / "localizations"


class Asked:
    """What is said by the operator's choice. `ask` puts the host's settings here."""

    language: Callable[[], str] = staticmethod(lambda: "None")
    refusal: Callable[[], str] = staticmethod(str)


def ask(language: Callable[[], str], refusal: Callable[[], str]) -> None:
    """Ask these from now on.

    Args:
        language: The page's language: a file's name, or ``None`` for English.
        refusal: The operator's own sentence for a refused picture; empty for ours.
    """
    Asked.language, Asked.refusal = staticmethod(language), staticmethod(refusal)


def refusal() -> str:
    """The sentence with which a picture is refused."""
    return Asked.refusal().strip() or refusal_by_default()


def refusal_by_default() -> str:
    """That sentence where the operator has written none."""
    return say("This picture can't be made here. Try other words, or ask for help.")


@cache
def _table(name: str) -> Mapping[str, str]:
    """The translations into the language ``name``; empty where there are none."""
    file = FOLDER / f"{name}.json"
    if Path(name).name != name or not file.is_file():
        return {}
    found = json.loads(file.read_text(encoding="utf-8"))
    return {str(key): str(value) for key, value in found.items()}


def translated(sentence: str) -> str:
    """``sentence`` in the page's language, its values not yet in it."""
    return _table(Asked.language()).get(sentence, sentence)


def later(sentence: str) -> str:
    """``sentence`` as it is, for a table; `say` gets it when it is shown."""
    return sentence


def say(sentence: str, **values: Any) -> str:
    """``sentence`` in the page's language, with ``values`` in the places of their names."""
    own = {name: _value(value) for name, value in values.items()}
    return translated(sentence).format(**own) if own else translated(sentence)


def say_html(sentence: str, **values: Any) -> str:
    """The same as HTML; the values are escaped, and bold."""
    marked = {name: f"<b>{escape(str(_value(value)))}</b>" for name, value in values.items()}
    return escape(translated(sentence), quote=False).format(**marked)


def spoken(text: str) -> str:
    """``text`` in the page's language, where it is a sentence of ours or made of such."""
    if not isinstance(text, Told):
        return translated(text)
    parts = (part if isinstance(part, str) else say(part[0], **part[1]) for part in text.parts)
    return "".join(parts)


def _value(value: Any) -> Any:
    return spoken(value) if isinstance(value, Told) else value
