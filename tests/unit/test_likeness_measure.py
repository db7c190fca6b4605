"""The likeness that tests/webui/test_likeness.py measures."""

from __future__ import annotations

import ast
import textwrap
from pathlib import Path

import likeness
import pytest

ORIGINAL = textwrap.dedent(
    """
    def running_mean(values, window):
        total = 0
        means = []
        for index, value in enumerate(values):
            total += value
            if index >= window:
                total -= values[index - window]
            if index >= window - 1:
                means.append(total / window)
        if not means and values:
            raise ValueError(f"fewer than {window} values")
        return means
    """
)
RENAMED = textwrap.dedent(
    '''
    class Smoother:
        def smooth(self, series: list[float], size: int = 3) -> list[float]:
            """The mean of every window."""
            acc: float = 0
            # A running sum.
            out: list[float] = []
            for i, x in enumerate(series):
                acc += x
                if i >= size: acc -= series[i - size]
                if i >= size - 1: out.append(acc / size)
            if not out and series:
                raise KeyError(f"need {size}")
            return out
    '''
)
EXTENDED = ORIGINAL.replace(
    "    means = []\n", "    means = []\n    window = int(window)\n"
).replace("    return means\n", "    print(len(means), total)\n    return means\n")
INDEPENDENT = textwrap.dedent(
    """
    def running_mean(values, window):
        if 0 < len(values) < window:
            raise ValueError(f"fewer than {window} values")
        ends = range(window, len(values) + 1)
        return [sum(values[end - window : end]) / window for end in ends]
    """
)
SCRIPT = """
function mark(items, chosen) {
    const seen = new Set();
    for (const item of items) {
        // once
        if (seen.has(item.id)) continue;
        seen.add(item.id);
        item.classList.toggle("chosen", item.id === chosen);
    }
    return seen.size > 1 ? `${seen.size} items` : "one item";
}
"""
RENAMED_SCRIPT = """
const paint = (nodes, pick) => {
  const ids = new Set()
  for (const node of nodes) { if (ids.has(node.key)) continue; ids.add(node.key);
    node.style.flip('on', node.key === pick); }
  return ids.size > 1 ? `${ids.size}` : 'single';
}
"""


def shares(ours: str, theirs: str, suffix: str = ".py") -> dict[str, float]:
    """The highest share in each measure; 0 where nothing is shared."""
    reader = likeness.READERS[suffix]
    rows = likeness.nearest(list(reader(ours, "ours")), list(reader(theirs, "theirs")))
    return {"named": 0.0, "shape": 0.0, **{row.measure: row.share for row in reversed(rows)}}


def stands_out(ours: str, theirs: str, suffix: str = ".py") -> set[str]:
    reader = likeness.READERS[suffix]
    rows = likeness.nearest(list(reader(ours, "ours")), list(reader(theirs, "theirs")))
    return {row.measure for row in rows if likeness.stands_out(row)}


def test_a_copy_is_found_in_both_measures() -> None:
    assert shares(ORIGINAL, ORIGINAL) == {"named": 1.0, "shape": 1.0}


def test_other_names_comments_types_and_layout_do_not_hide_a_copy() -> None:
    assert shares(RENAMED, ORIGINAL)["shape"] == 1.0
    assert stands_out(RENAMED, ORIGINAL) == {"shape"}


def test_added_statements_do_not_hide_a_copy() -> None:
    assert stands_out(EXTENDED, ORIGINAL) == {"named", "shape"}


def test_another_way_to_the_same_result_does_not_stand_out() -> None:
    assert stands_out(INDEPENDENT, ORIGINAL) == set()


def test_a_renamed_script_is_found() -> None:
    assert shares(SCRIPT, SCRIPT, ".js") == {"named": 1.0, "shape": 1.0}
    assert "shape" in stands_out(
        RENAMED_SCRIPT.replace("ids.size}`", "ids.size} x`"), SCRIPT, ".js"
    )


@pytest.mark.parametrize(
    "source",
    [
        "const a = (b) => { return /[/\"']+/.test(b) ? b / 2 / c : 'x\\'y'; };",
        "class K { run(a) { if (a) { while (a) { a -= 1; } } else { for (;;) { break; } } } }",
    ],
)
def test_blocks_are_no_functions_and_quotes_in_patterns_no_strings(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likeness, "SHORTEST", 0)
    names = [unit.name for unit in likeness.javascript_units(source, "f")]
    assert names == [names[0], "f:(outside functions)"]
    assert names[0] in ("f:a", "f:run")


def test_lists_of_assignments_have_no_shape() -> None:
    lines = [f"    self.a{number} = b{number}" for number in range(40)]
    first = "def f(self):\n" + "\n".join(lines)
    second = first.replace("a", "c").replace("b", "d")
    assert shares(second, first)["shape"] == 0.0


def test_declared_options_have_no_shape_and_hide_nothing_beside_them() -> None:
    options = "".join(f"    p.add_argument('--a{n}', type=int, default={n})\n" for n in range(30))
    assert shares("def f(p):\n" + options, "def g(p):\n" + options) == {"named": 0, "shape": 0}
    mixed = ORIGINAL.replace(
        "    total = 0\n", options.replace("p.", "values.") + "    total = 0\n"
    )
    assert stands_out(mixed, ORIGINAL) == {"named", "shape"}


def test_unrelated_code_does_not_stand_out() -> None:
    """The limits are above what chance brings: this package and Python's own library."""
    library = Path(ast.__file__).parent
    theirs = likeness.units(
        [library / name for name in ("argparse.py", "email", "http", "logging")]
    )
    assert len(theirs) > 300
    ours = likeness.units([Path(likeness.__file__).parents[1] / "safegen"])
    assert len(ours) > 100
    assert [row for row in likeness.nearest(ours, theirs) if likeness.stands_out(row)] == []
