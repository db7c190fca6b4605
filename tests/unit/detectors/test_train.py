"""Training: what is learned from, and that the network in numpy is the one in torch."""

import numpy as np
import pytest
import torch

from safegen.detectors.lexicon import LexiconDetector
from safegen.detectors.ngram import INPUT_SCALE, STOP, UNKNOWN, NgramDetector, inputs
from safegen.lab.text.texts import Collector, Text, pieces_of, risky, rows_of
from safegen.lab.text.train import Network, _loss, calibrate, exported, mean, started
from safegen.text.vocabulary import vocabulary

CATEGORIES = ("one", "two")


def network() -> Network:
    torch.manual_seed(0)
    return Network(vocabulary().vectors.shape[1], len(CATEGORIES), hidden=8).eval()


def test_numpy_gives_what_torch_gives() -> None:
    made = network()
    detector = NgramDetector(exported(made, CATEGORIES, {}))
    rows = np.asarray([rows_of("a red cat, xqzzyq on the mat in a big old house by the sea")])
    x = torch.from_numpy(inputs(rows, vocabulary(), INPUT_SCALE).astype(np.float32))
    places, kinds = made(x, torch.ones(rows.shape, dtype=torch.bool))
    expected = torch.cat([places[..., None], kinds], -1).detach().numpy()
    np.testing.assert_allclose(detector._places(rows), expected, atol=1e-4)


def test_the_mean_of_two_networks_says_the_mean_of_every_place() -> None:
    one, other = network(), network()
    torch.nn.init.normal_(other.first.weight, std=0.1)
    torch.nn.init.normal_(other.out.weight, std=0.1)
    each = [exported(n, CATEGORIES, {}) for n in (one, other)]
    rows = np.asarray([rows_of("a red cat, on the mat in a big old house by the sea")])
    said = [NgramDetector(w)._places(rows) for w in each]
    np.testing.assert_allclose(
        NgramDetector(mean(*each))._places(rows), (said[0] + said[1]) / 2, atol=1e-4
    )


def test_training_goes_on_from_weights() -> None:
    first, second = network(), network()
    torch.nn.init.normal_(second.first.weight)
    started(second, exported(first, CATEGORIES, {}))
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, other)


def test_the_loss_falls_where_harm_is_told_from_harmless() -> None:
    batch = [Text((1, 2), 0, 1.0), Text((3, 4), -1, 1.0)]
    kinds = torch.zeros(2, 2, 2)
    right = _loss(torch.tensor([[3.0, -9.0], [-9.0, -9.0]]), kinds, batch)
    wrong = _loss(torch.tensor([[-9.0, -9.0], [3.0, -9.0]]), kinds, batch)
    assert right < wrong


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
