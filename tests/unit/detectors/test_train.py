"""Training: what is learned from, and that the network in numpy is the one in torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from safegen.detectors.bag import Bag
from safegen.detectors.lexicon import LexiconDetector
from safegen.detectors.ngram import NgramDetector, inputs
from safegen.detectors.reading import STOP, UNKNOWN
from safegen.lab.text.texts import (
    Collector,
    Text,
    names_in,
    nearest_words,
    pieces_of,
    risky,
    rows_of,
)
from safegen.lab.text.train import Network, _loss, calibrate, exported, fit
from safegen.text.vocabulary import vocabulary

CATEGORIES = ("one", "two")


def network(words: int, seed: int) -> Network:
    torch.manual_seed(seed)
    width = vocabulary().vectors.shape[1]
    return Network(width, len(CATEGORIES), words, hidden=8).eval()


def test_numpy_gives_what_networks_in_torch_give_on_average() -> None:
    rows = np.asarray([rows_of("a red cat, xqzzyq on the mat in a big old house by the sea")])
    known = vocabulary()
    cat, mat, sea = (row for word in ("cat", "mat", "sea") if (row := known.row(word)) is not None)
    none = np.zeros((len(known.vectors), 0), np.float32)
    x = torch.from_numpy(inputs(rows, known, none))
    mask = torch.ones(rows.shape, dtype=torch.bool)
    networks, said = [], []
    for seed, own in enumerate(([cat, mat], [mat, sea])):
        made = network(len(own), seed)
        torch.nn.init.normal_(made.own.weight[1:])
        numbers = np.asarray([[own.index(row) + 1 if row in own else 0 for row in rows[0]]])
        places, kinds = made(x, torch.from_numpy(numbers), mask)
        said.append(torch.cat([places[..., None], kinds], -1).detach().numpy())
        networks.append((made, own))
    expected = np.mean(said, axis=0)
    linear = Bag(np.zeros(0, np.uint32), *np.zeros((2, 0), np.float32), offset=0.0)
    weights = exported(networks, linear, CATEGORIES, {})
    np.testing.assert_allclose(NgramDetector(weights)._places(rows), expected, atol=1e-4)
    without = replace(weights, own=0 * weights.own)
    assert not np.allclose(NgramDetector(without)._places(rows), expected, atol=1e-4)
    assert not np.allclose(said[0], said[1], atol=1e-2)


def test_the_loss_falls_where_harm_is_told_from_harmless() -> None:
    batch = [Text((1, 2), 0, 1.0), Text((3, 4), -1, 1.0)]
    kinds = torch.zeros(2, 2, 2)
    right = _loss(torch.tensor([[3.0, -9.0], [-9.0, -9.0]]), kinds, batch)
    wrong = _loss(torch.tensor([[-9.0, -9.0], [3.0, -9.0]]), kinds, batch)
    assert right < wrong


def test_what_is_learned_depends_on_texts_and_seed_alone() -> None:
    texts = [Text((row, row + 1), row % 2 - 1, 1.0) for row in range(1, 60)]
    made = [fit(texts, CATEGORIES, seed, 1)[0].state_dict()["first.weight"] for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_pieces_are_clauses_without_the_first() -> None:
    assert pieces_of([(1, 2, STOP, 3, STOP, STOP, 4, 5)]) == [(3,), (4, 5)]


def test_what_is_put_around_a_text_leaves_it_whole() -> None:
    out = Collector([(7,), (8, 9), *[(10,)] * 8], seed=1)
    for _ in range(20):
        assert "1, 2, 3" in str(out.styled((1, 2, 3)))
        assert out.opened((1, 2, 3))[-3:] == (1, 2, 3)
    out.add((1,), 0, around=1.0)
    assert [text.kind for text in out.texts] == [0, 0]
    assert out.texts[1].weight < out.texts[0].weight


def test_a_text_is_told_in_another_language_word_by_word() -> None:
    pytest.importorskip("wordfreq")
    known = vocabulary()
    nearest = nearest_words("de")
    for english, german in (("dog", "hund"), ("water", "wasser"), ("blood", "blut")):
        row = known.row(english)
        assert row is not None
        assert nearest[row] == known.row(german)
    out = Collector([], seed=1)
    out.nearest = [nearest]
    dog = known.row("dog")
    assert dog is not None
    assert out.translated((dog, STOP, UNKNOWN)) == (known.row("hund"), STOP, UNKNOWN)


def test_an_empty_text_is_one_unknown_word() -> None:
    assert rows_of("...") == (UNKNOWN,)


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [("a nude woman", True), ("a seductive elf", True), ("a witch with a knife", False)],
)
def test_peoples_prompts_that_may_be_harmful_are_not_learned_as_harmless(
    prompt: str, expected: bool
) -> None:
    assert risky(prompt, LexiconDetector()) is expected


def test_calibration_finds_the_slope_that_made_the_labels() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=4000)
    label = (rng.random(4000) < 1 / (1 + np.exp(-(2.0 * z - 1.0)))).astype(float)
    slope, offset = calibrate(z, label, np.ones(4000))
    assert slope == pytest.approx(2.0, abs=0.2)
    assert offset == pytest.approx(-1.0, abs=0.2)


def test_bare_texts_stand_alone_and_in_their_own_language() -> None:
    out = Collector([(7,), (8, 9)] * 8, seed=1, bare=True)
    out.add((1, 2, 3), 0, around=1.0, abroad=1.0)
    assert [text.rows for text in out.texts] == [(1, 2, 3)]
    assert out.styled((1, 2, 3)) == (1, 2, 3)


def test_names_of_two_words_are_found_and_risky_ones_are_not() -> None:
    texts = ["a naked Suki Waterhouse, art by Greg Rutkowski", "Jennifer Connelly, blood", "a cat"]
    assert names_in(texts) == ["jennifer connelly", "suki waterhouse"]
