"""What the model is shown is compared with what it was given, as the host pads it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from a1111_support import WIDTH, Host

from safegen.hosts.a1111.seal import GIVEN, Seal

SHORT, LONG = 77, 231


def given(cond: int, uncond: int) -> Any:
    """A call of texts as SDXL has them."""
    generator = torch.Generator().manual_seed(1)
    text = lambda count: {  # noqa: E731
        "crossattn": torch.randn(1, count, WIDTH, generator=generator),
        "vector": torch.randn(1, 8, generator=generator),
    }
    values = {name: torch.zeros(2, 4, 8, 8) for name in GIVEN}
    return SimpleNamespace(**{**values, "text_cond": text(cond), "text_uncond": text(uncond)})


def padded(params: Any, name: str, tail: torch.Tensor) -> None:
    text = getattr(params, name)
    text["crossattn"] = torch.cat([text["crossattn"], tail], dim=1)


@pytest.mark.parametrize(
    ("name", "lengths"), [("text_cond", (SHORT, LONG)), ("text_uncond", (LONG, SHORT))]
)
def test_padding_with_the_empty_prompt_is_the_hosts(name: str, lengths: tuple[int, int]) -> None:
    for option, tail, content in (
        (True, LONG - SHORT, 0.0),
        (True, LONG - SHORT, 1.0),
        (True, SHORT, 0.0),
        (False, LONG - SHORT, 0.0),
    ):
        seal, params = Seal(Host(pad_cond_uncond=option), None), given(*lengths)
        seal.gave(params)
        padded(params, name, torch.full((1, tail, WIDTH), content))
        is_the_hosts = option and tail == LONG - SHORT and content == 0.0
        assert (seal.broken_before() == "") is is_the_hosts, (option, tail, content)


def test_the_older_padding_repeats_or_cuts_the_negative_text() -> None:
    for lengths in ((LONG, SHORT), (SHORT, LONG)):
        for changed in (0.0, 1.0):
            seal, params = Seal(Host(pad_cond_uncond_v0=True), None), given(*lengths)
            seal.gave(params)
            own = params.text_uncond["crossattn"]
            last = own[:, -1:].repeat(1, max(lengths[0] - lengths[1], 0), 1)
            text = torch.cat([own, last], dim=1)[:, : lengths[0]].clone()
            text[0, -1, 0] += changed
            params.text_uncond["crossattn"] = text
            assert (seal.broken_before() == "") is (changed == 0.0), lengths


def test_nothing_else_may_change() -> None:
    for name in GIVEN:
        seal, params = Seal(Host(pad_cond_uncond=True), None), given(SHORT, LONG)
        seal.gave(params)
        value = getattr(params, name)
        (value["vector"] if isinstance(value, dict) else value)[0] += 1
        assert GIVEN[name] in seal.broken_before()
