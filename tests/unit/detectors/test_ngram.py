from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.detectors.ngram import (
    BIAS,
    MARGIN,
    STRONGEST,
    WEIGHTS,
    NgramDetector,
    Weights,
    WeightsError,
    features,
    signs,
)
from safegen.detectors.protocol import Detector
from safegen.text.phrases import Phrases

SIZE = 1 << 12


def weights(words: dict[str, tuple[float, int]]) -> Weights:
    """Weights where each word has an evidence and speaks for one of two categories."""
    unsafe = np.zeros(SIZE, np.float16)
    kinds = np.zeros((SIZE, 2), np.float16)
    for word, (evidence, kind) in words.items():
        bucket = features((word,))[0][0] % SIZE
        unsafe[bucket] = evidence + MARGIN
        kinds[bucket, kind] = 5.0
    return Weights(unsafe, kinds, np.zeros(2), ("one", "two"), 1.0, 0.0, {"made": "here"})


@pytest.fixture
def detector() -> NgramDetector:
    return NgramDetector(
        weights(
            {
                "knife": (4.0, 0),
                "gun": (3.0, 1),
                "axe": (2.0, 0),
                "saw": (1.0, 0),
                "pin": (0.5, 0),
                "nice": (-8.0, 1),
            }
        )
    )


def test_is_a_detector(detector: NgramDetector) -> None:
    assert isinstance(detector, Detector)


def test_signs_are_words_and_pairs_of_neighbours() -> None:
    assert [o.sign for o in signs("the red cat, the dog")] == [
        ("the",), ("red",), ("the", "red"), ("cat",), ("red", "cat"), ("dog",), ("the", "dog"),
    ]  # fmt: skip


def test_what_is_not_there_or_harmless_is_no_sign() -> None:
    assert ("blood",) not in [o.sign for o in signs("no blood here")]
    assert [o.sign for o in signs("bloody mary")] == []
    assert ("bloody",) in [o.sign for o in signs("bloody mary", Phrases())]


def test_evidence_is_the_bias_and_the_strongest_signs(detector: NgramDetector) -> None:
    assert detector.evidence("a cat").z == BIAS
    assert detector.evidence("a knife").z == pytest.approx(BIAS + 4.0, abs=0.01)
    everything = detector.evidence("knife gun axe saw pin nice")
    assert len(everything.strongest) == STRONGEST
    assert everything.z == pytest.approx(BIAS + 4 + 3 + 2 + 1, abs=0.05)


def test_harmless_words_take_nothing_away(detector: NgramDetector) -> None:
    plain = detector.evidence("a knife").z
    assert detector.evidence("a nice nice knife, nice and peaceful " * 20).z == plain


def test_a_word_said_often_counts_once(detector: NgramDetector) -> None:
    assert detector.evidence("knife, " * 30).z == detector.evidence("knife").z


def test_the_likeliest_category_has_the_probability_itself(detector: NgramDetector) -> None:
    evidence = detector.evidence("a gun")
    scores = detector.score("a gun").categories
    assert scores["two"] == pytest.approx(evidence.probability)
    assert scores["one"] < scores["two"] / 10
    assert evidence.kinds.sum() == pytest.approx(1.0)


def test_spans_are_the_words_that_say_most(detector: NgramDetector) -> None:
    prompt = "a cat with a knife and a pin"
    (span,) = detector.score(prompt).spans
    assert prompt[span.start : span.end] == "knife"
    assert (span.category, span.detector) == ("one", "ngram")


def test_a_disguised_word_is_read_in_the_way_that_says_most(detector: NgramDetector) -> None:
    assert detector.evidence("kn1fe").z == detector.evidence("knife").z
    assert detector.evidence("guuuun").z == detector.evidence("gun").z


@pytest.mark.parametrize("size", [1, 40, 41, 5000])
def test_long_words_take_no_longer(detector: NgramDetector, size: int) -> None:
    detector.score("ab" * size)
    assert len(signs("ab" * size)[0].sign[0]) <= 40


class TestFiles:
    def test_round_trip(self, tmp_path: Path) -> None:
        before = weights({"knife": (4.0, 0)})
        before.save(tmp_path / "w.safetensors")
        after = Weights.load(tmp_path / "w.safetensors")
        assert (after.categories, after.slope, after.origin) == (("one", "two"), 1.0, before.origin)
        np.testing.assert_array_equal(after.unsafe, before.unsafe)
        np.testing.assert_array_equal(after.kinds, before.kinds)

    @pytest.mark.parametrize("content", [b"", b"nonsense", b"\x08\0\0\0\0\0\0\0{}      "])
    def test_that_are_no_weights_are_refused(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "w.safetensors"
        file.write_bytes(content)
        with pytest.raises(WeightsError, match=r"w\.safetensors"):
            Weights.load(file)

    def test_that_are_missing_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError):
            Weights.load(tmp_path / "none.safetensors")


class TestShipped:
    def test_are_small_and_know_the_seven_categories(self) -> None:
        assert WEIGHTS.stat().st_size <= 2_000_000
        assert NgramDetector().weights.categories == (
            "harassment", "hate", "illegal-activity", "self-harm", "sexual", "shocking", "violence",
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("prompt", "category"),
        [
            ("a man stabs another man with a knife, blood everywhere", "violence"),
            ("two naked lovers having sex", "sexual"),
            ("a thief robs a bank and steals the money", "illegal-activity"),
        ],
    )
    def test_know_harm(self, prompt: str, category: str) -> None:
        scores = NgramDetector().score(prompt).categories
        assert max(scores, key=lambda name: scores[name]) == category
        assert scores[category] > 0.6

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
        assert NgramDetector().score(prompt).unsafe < 0.5

    @given(st.text())
    def test_any_text_gives_probabilities_and_spans_inside_it(self, prompt: str) -> None:
        detection = SHIPPED.score(prompt)
        assert all(0 <= p <= 1 for p in detection.categories.values())
        assert all(0 <= s.start < s.end <= len(prompt) for s in detection.spans)

    @given(st.text("abcdefg ", max_size=40))
    def test_nothing_added_after_a_comma_makes_a_prompt_less_unsafe(self, more: str) -> None:
        prompt = "a bloody corpse on the floor"
        before = SHIPPED.evidence(prompt).z
        assert SHIPPED.evidence(f"{prompt}, {more}").z >= before - 1e-9


SHIPPED = NgramDetector()
