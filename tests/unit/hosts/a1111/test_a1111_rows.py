"""Which row belongs to which image, and extra rows in the host's call."""

from __future__ import annotations

import pytest
import torch
from a1111_support import Dict, Params, encoded, number_of

from safegen.hosts.a1111.conds import rows_of
from safegen.hosts.a1111.rows import ExtraRow, HostCall, RowLayout

TWO = RowLayout((2, 1))


def test_cond_rows_come_image_by_image_and_then_the_uncond_rows() -> None:
    layout = RowLayout((2, 1, 3))
    assert (layout.images, layout.cond_rows, layout.rows) == (3, 6, 9)
    assert layout.image_of == [0, 0, 1, 2, 2, 2]
    assert layout.first == [0, 2, 3]
    assert [list(layout.of_image(image)) for image in range(3)] == [[0, 1], [2], [3, 4, 5]]
    assert layout.uncond(torch.arange(9)).tolist() == [6, 7, 8]


def test_copies_of_first_cond_rows_show_that_the_uncond_rows_were_left_out() -> None:
    rows = torch.tensor([1.0, 2.0, 3.0, 1.0, 3.0])
    assert TWO.lacks_uncond(rows)
    assert not TWO.lacks_uncond(torch.tensor([1.0, 2.0, 3.0, 1.0, 2.0]))


@pytest.mark.parametrize("name", ["x", "text_cond", "text_uncond"])
def test_a_call_with_other_rows_is_refused_by_name(name: str) -> None:
    params = Params()
    rows = torch.zeros(7, 1, 1, 1)
    setattr(params, name, rows if name == "x" else Dict(crossattn=rows))
    with pytest.raises(ValueError, match=f"{name} has 7 rows"):
        HostCall.read(params, TWO)


def test_extra_rows_lie_before_the_uncond_rows_with_their_own_texts() -> None:
    params = Params()
    given = HostCall.read(params, TWO)
    texts = zip((0, 2, 0), "pqr", strict=True)
    given.with_rows([ExtraRow(row, encoded(text)) for row, text in texts], TWO).write(params)
    for value in (params.x, params.image_cond):
        assert value.flatten().tolist() == [0, 1, 2, 0, 2, 0, 3, 4]
    assert len(params.sigma) == 8
    assert type(params.text_cond) is Dict
    for value in params.text_cond.values():
        assert value.flatten(1)[:, 0].tolist() == [number_of(text) for text in "abcpqr"]
    assert len(given.x) == 5


def test_prompts_that_are_their_negative_prompts_say_nothing_more() -> None:
    params = Params()
    assert not HostCall.read(params, TWO).says_nothing_more(TWO)
    params.text_uncond = rows_of(params.text_cond, [0, 2])
    assert HostCall.read(params, TWO).says_nothing_more(TWO)
