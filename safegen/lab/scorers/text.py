"""What SafeGen's own detectors say of the prompt, beside what the pictures show."""

from __future__ import annotations

from collections.abc import Sequence

import safegen
from safegen.lab.scorers.base import About, Item, Options, Scores


class PromptScorer:
    """Auto's view of the prompt."""

    name = "prompt"
    about = About(
        title="SafeGen's text detectors (lexicon and n-gram model)",
        says="prompt_p: probability that the prompt asks for harm; auto: the context that Auto "
        "would use, empty for none.",
        licence="part of SafeGen (MIT)",
        blind_to="the picture: it reads the prompt alone; words in other languages than English",
    )

    def __init__(self, _options: Options) -> None:
        from safegen.detectors.auto import AutoPolicy

        self._policy = AutoPolicy()
        self._known: dict[str, Scores] = {}
        self.version = f"safegen {safegen.__version__}"

    def score(self, items: Sequence[Item]) -> list[Scores]:
        """One entry per item; a prompt is read once."""
        for item in items:
            if item.prompt not in self._known:
                verdict = self._policy.judge(item.prompt)
                self._known[item.prompt] = {
                    "prompt_p": round(verdict.unsafe, 4),
                    "auto": verdict.context.name if verdict.context else "",
                }
        return [self._known[item.prompt] for item in items]
