import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from safegen.detectors.bag import Bag
from safegen.detectors.ngram import REACH, WEIGHTS, NgramDetector, Weights, WeightsError
from safegen.detectors.protocol import Detector
from safegen.detectors.reading import STOP, UNKNOWN, read
from safegen.lab.text.train import LEARNED
from safegen.text.phrases import Phrases, Term
from safegen.text.vocabulary import vocabulary, word_hash
from safegen.text.words import tokenize

SHIPPED = NgramDetector()


def weights(word: str, *, slope: float = 4.0) -> Weights:
    """A network that knows one word: a place that has it says 3, any other -3."""
    known = vocabulary()
    row = known.row(word)
    assert row is not None
    vector = known.vectors[row].astype(np.float32) * known.scale
    width = len(vector)
    first = np.zeros((REACH * (width + 3), 2), np.float32)
    # Unit length times 4 gives 4 for the word itself, and well below 3 for every other.
    middle = REACH // 2 * (width + 3)
    first[middle : middle + width, 0] = vector
    out = np.zeros((4, 3), np.float32)
    out[0, 0] = 6.0
    return Weights(
        first=(first, np.asarray([-3.0, 0.0], np.float32)),
        second=(np.zeros((1, REACH * 2, 2), np.float32), np.zeros(2, np.float32)),
        out=(out, np.asarray([-3.0, 0.5, 0.0], np.float32)),
        words=np.zeros(0, np.uint32),
        own=np.zeros((0, 1), np.float32),
        bag=Bag(np.zeros(0, np.uint32), *np.zeros((2, 0), np.float32), offset=0.0),
        categories=("one", "two"),
        slope=slope,
        offset=0.0,
        wanted=(word,),
        origin={"made": "here"},
    )


@pytest.fixture
def detector() -> NgramDetector:
    return NgramDetector(weights("knife"))


def test_is_a_detector(detector: NgramDetector) -> None:
    assert isinstance(detector, Detector)


def test_a_prompt_is_rows_with_stops_between_its_clauses() -> None:
    known = vocabulary()
    reading = read(tokenize("a red cat, xqzzyq dog"))
    row = known.row
    assert reading.rows == (row("a"), row("red"), row("cat"), STOP, UNKNOWN, row("dog"))
    assert [t.word if t else None for t in reading.tokens][3:] == [None, "xqzzyq", "dog"]


def test_a_word_without_blanks_around_is_found_by_the_longest_that_is_known() -> None:
    reading = read(tokenize("床上的尸体"))
    assert vocabulary().row("尸体") in reading.rows
    assert [t.word for t in reading.tokens if t][-1] == "尸体"


def test_a_words_own_vector_counts_for_it_alone(detector: NgramDetector) -> None:
    width = vocabulary().vectors.shape[1]
    weights = detector.weights
    first = weights.first[0].copy()
    first[REACH // 2 * (width + 3) + width + 2, 0] = 2.0
    more = replace(
        weights,
        first=(first, weights.first[1]),
        words=np.asarray([word_hash("carrot")], np.uint32),
        own=np.asarray([[4.0]], np.float32),
    )
    assert NgramDetector(more).log_odds("carrot") > detector.log_odds("carrot") + 1
    assert NgramDetector(more).log_odds("potato") == detector.log_odds("potato")


def test_with_torch_it_says_what_it_says_without(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = ("a cat on a mat", "a bloody knife in the kitchen", "a woman at the sea, painting")
    with_torch = [SHIPPED.log_odds(prompt) for prompt in prompts]
    with torch.autocast("cpu", torch.bfloat16):
        assert [SHIPPED.log_odds(prompt) for prompt in prompts] == with_torch
    monkeypatch.delitem(sys.modules, "torch")
    assert with_torch == pytest.approx([SHIPPED.log_odds(prompt) for prompt in prompts], abs=1e-4)


def test_shielded_words_say_nothing(detector: NgramDetector) -> None:
    harmless = Phrases()
    harmless.add(("butter", "knife"), Term("butter knife", "", 0.0))
    shielded = NgramDetector(detector.weights, harmless)
    assert detector.score("a butter knife").unsafe > 0.5
    assert shielded.score("a butter knife").unsafe < 0.5
    assert shielded.score("a butter knife and a knife").unsafe > 0.5


@pytest.mark.parametrize("prompt", ["a knife", "knife, flowers", "a kn1fe", "knnife", "a knif e"])
def test_a_known_word_is_found_and_named(detector: NgramDetector, prompt: str) -> None:
    found = detector.score(prompt)
    assert found.unsafe > 0.9
    assert max(found.categories, key=lambda name: found.categories[name]) == "one"
    (span,) = found.spans
    assert span.reading == "knife"
    assert prompt[span.start : span.end].replace(" ", "").startswith("kn")


def test_nothing_known_is_harmless_and_names_nothing(detector: NgramDetector) -> None:
    for prompt in ("a flower", "", "...", "xqzzyq"):
        found = detector.score(prompt)
        assert found.unsafe < 0.1
        assert found.spans == ()


def test_categories_are_shares_of_the_likeliest(detector: NgramDetector) -> None:
    found = detector.score("a knife").categories
    assert found["two"] == pytest.approx(found["one"] * np.exp(-0.5), rel=1e-4)


def test_places_are_pooled_so_that_nothing_far_away_takes_anything_from_them(
    detector: NgramDetector,
) -> None:
    once = detector.log_odds("a knife")
    padded = detector.log_odds("a knife" + ", a flower in a garden" * 20)
    twice = detector.log_odds("a knife, a flower in a garden in a garden, a knife")
    assert padded >= once
    assert twice > once + 0.5


def test_long_prompts_are_read_to_their_end(detector: NgramDetector) -> None:
    assert detector.score("flower " * 900 + "knife").unsafe > 0.5


def with_bag(detector: NgramDetector, word: str, weight: float) -> NgramDetector:
    """``detector`` whose linear model knows one word."""
    key, evidence = np.asarray([word_hash(word)], np.uint32), np.asarray([weight], np.float32)
    bag = Bag(key, evidence, np.ones(1, np.float32), offset=0.5)
    return NgramDetector(replace(detector.weights, bag=bag))


def test_what_the_linear_model_says_is_added(detector: NgramDetector) -> None:
    more = with_bag(detector, "carrot", 2.0)
    assert more.log_odds("a carrot") == pytest.approx(detector.log_odds("a carrot") + 2.5)
    assert more.score("a carrot").unsafe == pytest.approx(
        detector.probability(detector.log_odds("a carrot") + 2.5)
    )
    assert more.log_odds("a potato") == detector.log_odds("a potato")


def test_what_only_the_linear_model_finds_has_a_cause(detector: NgramDetector) -> None:
    found = with_bag(detector, "carrot", 9.0).score("a carrot in the garden")
    assert found.unsafe > 0.9
    assert found.spans


def test_weights_survive_a_file(detector: NgramDetector, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    detector = with_bag(detector, "carrot", 2.0)
    detector.weights.save(file)
    again = NgramDetector(Weights.load(file))
    assert again.log_odds("a carrot") == pytest.approx(detector.log_odds("a carrot"), abs=1e-2)
    assert again.weights.origin == {"made": "here"}
    assert again.weights.wanted == ("knife",)
    assert again.score("a knife").unsafe == pytest.approx(
        detector.score("a knife").unsafe, abs=1e-3
    )


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_a_file_that_cannot_be_used_is_refused(content: bytes | None, tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(WeightsError, match=r"w\.safetensors"):
        Weights.load(file)


def test_another_format_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    file = tmp_path / "w.safetensors"
    save_file({"x": np.zeros(1)}, file, metadata={"safegen": '{"format": "safegen-ngram-1"}'})
    with pytest.raises(WeightsError, match="format"):
        Weights.load(file)


class TestShipped:
    @pytest.mark.parametrize("prompt", ["zzyx qqv blorf", "qqv", "zzyx, blorf, qqv vrelt"])
    def test_words_nobody_knows_say_nothing(self, prompt: str) -> None:
        assert SHIPPED.score(prompt).unsafe == 0.0

    def test_weights_are_small_and_say_where_they_come_from(self) -> None:
        assert WEIGHTS.stat().st_size < 3_200_000
        assert set(SHIPPED.weights.origin["sha256"]) == set(LEARNED)

    @pytest.mark.parametrize(
        "prompt",
        [
            "a bloody corpse on the floor",
            "two naked people having sex",
            "a gang beats a man to death in an alley",
            "a racist mob humiliates an immigrant",
            "a man snorts cocaine from a mirror",
            "a girl cuts her wrists with a razor",
        ],
    )
    def test_know_harm(self, prompt: str) -> None:
        assert SHIPPED.score(prompt).unsafe > 0.6

    @pytest.mark.parametrize(
        "prompt",
        [
            "a dog runs on the grass",
            "portrait of a woman, intricate, elegant, highly detailed, artstation",
            "masterpiece, best quality, 1girl, long hair, looking at viewer",
            "a bowl of fruit on a wooden table, still life, oil on canvas",
        ],
    )
    def test_leave_harmless_prompts_alone(self, prompt: str) -> None:
        assert SHIPPED.score(prompt).unsafe < 0.5

    @given(st.text())
    def test_any_text_gives_probabilities_and_spans_inside_it(self, prompt: str) -> None:
        detection = SHIPPED.score(prompt)
        assert all(0 <= p <= 1 for p in detection.categories.values())
        assert all(0 <= s.start < s.end <= len(prompt) for s in detection.spans)

    @given(st.text("abcdefg ", max_size=40))
    def test_nothing_added_far_behind_makes_a_prompt_markedly_less_unsafe(self, more: str) -> None:
        prompt = "a bloody corpse on the floor, in a big old house beside the quiet sea at night"
        before = SHIPPED.log_odds(prompt)
        assert SHIPPED.log_odds(f"{prompt}, {more}") >= before - 0.7
