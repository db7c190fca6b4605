"""The linear model over words and pairs: what it says of a stretch, and which stretch counts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.detectors.bag import LEAST, MOST, Bag, features, hashes_of
from safegen.detectors.reading import STOP, UNKNOWN
from safegen.lab.text.bag import fit
from safegen.lab.text.texts import Text
from safegen.text.vocabulary import vocabulary, word_hash

HASHES = hashes_of(vocabulary())
BAD, GOOD, PLAIN, NEW = 11, 12, 13, 14
"""Rows: one that speaks for harm, one against it, one that says nothing, and one never met."""
OFFSET = -1.0


def bag(said: dict[tuple[int, ...], tuple[float, float]]) -> Bag:
    """A model of words and pairs, with weight and rarity each."""
    keys = {features(rows, HASHES)[-1]: one for rows, one in said.items()}
    order = sorted(keys)
    weight, rarity = np.asarray([keys[key] for key in order], np.float32).T
    return Bag(np.asarray(order, np.uint32), weight, rarity, OFFSET)


MODEL = bag(
    {(BAD,): (6.0, 2.0), (GOOD,): (-4.0, 2.0), (PLAIN,): (0.0, 1.0), (PLAIN, BAD): (3.0, 1.0)}
)


def log_odds(rows: list[int], foreign: list[bool] | None = None) -> float:
    return MODEL.log_odds(rows, foreign or [False] * len(rows), HASHES)


def test_a_words_key_is_its_hash() -> None:
    blood = vocabulary().row("blood")
    assert blood is not None
    assert HASHES[blood] == word_hash("blood")


def test_evidence_is_divided_by_the_length_of_the_vector() -> None:
    assert log_odds([BAD]) == pytest.approx(6 / 2 + OFFSET)
    assert log_odds([BAD, GOOD]) == pytest.approx((6 - 4) / np.sqrt(4 + 4) + OFFSET)
    assert log_odds([PLAIN, BAD]) == pytest.approx((6 + 3) / np.sqrt(1 + 4 + 1) + OFFSET)


def test_the_order_of_a_pair_counts() -> None:
    assert log_odds([PLAIN, BAD]) > log_odds([BAD, PLAIN])


@pytest.mark.parametrize("between", [STOP, UNKNOWN, NEW])
def test_what_stands_apart_is_no_pair(between: int) -> None:
    assert log_odds([PLAIN, between, BAD]) == pytest.approx(6 / np.sqrt(1 + 4) + OFFSET)


@pytest.mark.parametrize("rows", [[], [NEW], [UNKNOWN, STOP, NEW]])
def test_what_was_never_met_says_nothing(rows: list[int]) -> None:
    assert log_odds(rows) == 0.0


def test_words_in_another_language_say_nothing() -> None:
    assert log_odds([BAD, NEW], [True, True]) == 0.0
    assert log_odds([PLAIN, BAD], [True, False]) == pytest.approx(log_odds([BAD]))


def test_a_model_of_nothing_says_nothing() -> None:
    empty = Bag(np.zeros(0, np.uint32), *np.zeros((2, 0), np.float32), offset=5.0)
    assert empty.log_odds([BAD], [False], HASHES) == 0.0


def test_harmless_words_come_to_so_much_and_no_more() -> None:
    assert log_odds([GOOD] * 20) == LEAST


CLAUSE = st.lists(st.sampled_from([GOOD, PLAIN, NEW, UNKNOWN]), min_size=1, max_size=30)


@given(st.lists(CLAUSE, max_size=5), st.lists(CLAUSE, max_size=5))
def test_other_clauses_hide_nothing(before: list[list[int]], behind: list[list[int]]) -> None:
    clause = [NEW, PLAIN, BAD, NEW, PLAIN]
    rows = [row for one in (*before, clause, *behind) for row in (*one, STOP)][:-1]
    assert log_odds(rows) >= log_odds(clause) - 1e-6


@given(st.integers(MOST, 200), st.integers(0, 200))
def test_a_long_clause_hides_nothing_either(length: int, place: int) -> None:
    rows = [GOOD] * length
    rows[min(place, length - 1)] = BAD
    assert log_odds(rows) >= log_odds([BAD, *[GOOD] * (MOST - 1)]) - 1e-6


def test_two_short_clauses_are_read_together() -> None:
    apart = [NEW, PLAIN, BAD, STOP, NEW, GOOD, NEW]
    assert log_odds(apart) == pytest.approx((6 + 3 - 4) / np.sqrt(1 + 4 + 1 + 4) + OFFSET)


def test_evidence_is_shared_by_the_words_of_a_pair_and_of_the_highest_stretch_alone() -> None:
    rows = [GOOD, NEW, NEW, NEW, NEW, STOP, NEW, PLAIN, BAD, NEW, NEW]
    said = MODEL.evidence(rows, [False] * len(rows), HASHES)
    length = np.sqrt(1 + 4 + 1)
    assert said[[7, 8]] == pytest.approx(np.asarray([3.0, 6.0 + 3.0]) / length)
    assert not said[[0, 1, 5, 6, 9]].any()


def test_it_learns_which_words_and_pairs_are_harmful() -> None:
    harmful = [(1, 20 + i % 7, BAD) for i in range(40)]
    harmless = [(2, 20 + i % 7, PLAIN) for i in range(40)]
    swapped = [(5, 6, 20 + i % 7) for i in range(40)], [(6, 5, 20 + i % 7) for i in range(40)]
    texts = [Text(rows, 0, 1.0) for rows in (*harmful, *swapped[0])]
    texts += [Text(rows, -1, 1.0) for rows in (*harmless, *swapped[1])]
    made = fit(texts)
    assert np.all(np.diff(made.keys.astype(np.int64)) > 0)
    assert np.all(made.rarity > 0)

    def of(*rows: int) -> float:
        return made.log_odds(rows, [False] * len(rows), HASHES)

    assert of(3, 21, BAD) > 0 > of(3, 21, PLAIN)
    assert of(5, 6, 21) > 0 > of(6, 5, 21)
