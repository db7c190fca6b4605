"""Model calls of our own: their shape beside another extension's hooks, and what they answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from a1111_support import Host, Params, encoded, number_of
from torch import Tensor

from safegen.hosts.a1111.conds import join, rows_of, tokens
from safegen.hosts.a1111.evaluation import OwnCalls
from safegen.hosts.a1111.rows import HostCall, RowLayout

LAYOUT = RowLayout((2, 1))


class Model:
    """Answers with each row's text; the image condition must be that of the row's place."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, Tensor]] = []

    def __call__(self, x: Tensor, _sigma: Tensor, cond: dict[str, Any]) -> Tensor:
        assert torch.equal(cond["c_concat"][0], x)
        self.calls.append((len(x), cond["crossattn"]))
        answer: Tensor = cond["crossattn"][:, 0, :1].view(-1, 1, 1, 1)
        return answer


def own_calls(
    host: Host, params: Params, model: Callable[..., Tensor], *, without_uncond: bool = False
) -> OwnCalls:
    given = HostCall.read(params, LAYOUT)
    return OwnCalls(host, LAYOUT, given, model, host.hooked, without_uncond)


@pytest.mark.parametrize(
    ("lengths", "options", "wanted"),
    [
        ((77, 77), {}, [5]),
        ((77, 77), {"batch_cond_uncond": False}, [2, 2, 1]),
        ((77, 154), {}, [3]),
        ((77, 154), {"batch_cond_uncond": False}, [2, 1]),
        ((77, 154), {"pad_cond_uncond": True}, [5]),
        ((154, 77), {}, [3]),
    ],
)
def test_beside_another_extension_s_hooks_calls_have_the_host_s_own_shape(
    lengths: tuple[int, int], options: dict[str, Any], wanted: list[int]
) -> None:
    """The safe conds stand in their rows' places; nothing is added to the host's own call."""
    host, params, model = Host(**options), Params(*lengths), Model()
    calls = own_calls(host, params, model)
    found = calls.evaluate(params.x[[0, 2]], [encoded("safe")] * 2, [0, 2])
    assert found.flatten().tolist() == [number_of("safe")] * 2
    assert [rows for rows, _ in model.calls] == wanted
    if lengths == (77, 77):  # each of the others is what it was
        seen = torch.cat([text for _, text in model.calls])
        own = join([params.text_cond, params.text_uncond])
        for row in (1, 3, 4):
            assert torch.equal(seen[row], tokens(rows_of(own, [row]))[0])


def test_uncond_rows_are_evaluated_in_their_own_places() -> None:
    params, model = Params(154, 77), Model()
    found = own_calls(Host(), params, model).evaluate(params.x[[4]], [encoded("safe")], [4])
    assert found.flatten().tolist() == [number_of("safe")]
    ((rows, texts),) = model.calls
    assert rows == 2
    assert torch.equal(texts[0], tokens(encoded("u"))[0])


def test_where_the_host_left_the_uncond_rows_out_so_do_we() -> None:
    params, model = Params(), Model()
    calls = own_calls(Host(), params, model, without_uncond=True)
    calls.evaluate(params.x[[0]], [encoded("safe")], [0])
    assert [rows for rows, _ in model.calls] == [3]


def test_without_hooks_only_our_rows_are_evaluated_by_token_length() -> None:
    host, params, model = Host(), Params(), Model()
    host.hooked = False
    texts = [encoded("long", 154), encoded("short"), encoded("longer", 154)]
    found = own_calls(host, params, model).evaluate(params.x[[0, 1, 2]], texts, [0, 1, 2])
    assert found.flatten().tolist() == [number_of(text) for text in ("long", "short", "longer")]
    assert [tuple(text.shape[:2]) for _, text in model.calls] == [(1, 77), (2, 154)]


def test_an_answer_with_other_rows_is_refused() -> None:
    params = Params()
    calls = own_calls(Host(), params, lambda x, _sigma, **_: x[:-1])
    with pytest.raises(ValueError, match="answer to the safe rows has 4 rows"):
        calls.evaluate(params.x[[0]], [encoded("safe")], [0])
