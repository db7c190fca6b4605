"""Sentences in English that remember how they were made, so that a page may say them otherwise.

The method and its contexts speak English: to the log, to infotexts and to clients. Where a page
shows what they say in another language it needs the sentence without its values.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Told(str):
    """A text with its sentences.

    Args:
        text: The text itself.
        parts: What it is made of, in order: a sentence with the values in it, or plain text.
    """

    parts: tuple[tuple[str, Mapping[str, Any]] | str, ...]

    def __new__(cls, text: str, parts: Iterable[Any] = ()) -> Told:
        made = super().__new__(cls, text)
        made.parts = tuple(parts) or (str(text),)
        return made

    def __add__(self, other: str) -> Told:
        return joined("", (self, other))


def told(sentence: str, **values: Any) -> Told:
    """``sentence`` with ``values`` in the places of their names.

    Example:
        >>> told("{n} pictures", n=told("no"))
        'no pictures'
    """
    return Told(sentence.format(**values) if values else sentence, [(sentence, values)])


def joined(separator: str, texts: Iterable[str]) -> Told:
    """``texts`` one after the other."""
    texts = list(texts)
    parts: list[Any] = []
    for text in texts:
        parts += [separator] * bool(parts and separator)
        parts += text.parts if isinstance(text, Told) else [text]
    return Told(separator.join(texts), parts)
