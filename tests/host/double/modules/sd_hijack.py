"""What the host adds to a model's text encoder."""

from __future__ import annotations

from types import SimpleNamespace


def _prompt_lengths(text: str) -> tuple[int, int]:
    """Tokens of ``text``, and how many there is room for."""
    count = len(text.split())
    return count, 75 * max(-(-count // 75), 1)


model_hijack = SimpleNamespace(get_prompt_lengths=_prompt_lengths)
