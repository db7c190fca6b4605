import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.detectors.lexicon import (
    BUILT_IN,
    PROBABILITY,
    Lexicon,
    LexiconDetector,
    LexiconError,
    built_in,
)
from safegen.detectors.protocol import Detector
from safegen.lab.text.obfuscate import OBFUSCATIONS

SMALL = {
    "schema": 1,
    "categories": {
        "violence": {"certain": ["pool of blood"], "likely": ["blood", "stab+", "on fire"]},
        "spiders": {"hint": ["spider", "tarantula"], "likely": ["cobweb"]},
    },
    "harmless": ["blood orange"],
}


@pytest.fixture
def detector() -> LexiconDetector:
    lexicon = Lexicon()
    lexicon.extend(SMALL)
    return LexiconDetector(lexicon)


def found(detector: LexiconDetector, prompt: str) -> list[str]:
    return [prompt[s.start : s.end] for s in detector.score(prompt).spans]


def test_is_a_detector(detector: LexiconDetector) -> None:
    assert isinstance(detector, Detector)


@pytest.mark.parametrize(
    ("prompt", "spans"),
    [
        ("blood", ["blood"]),
        ("a cat in a pool of blood", ["pool of blood"]),
        ("pools of blood", ["blood"]),  # only the last word of a term bends
        ("BLÖÖD on b l o o d", ["BLÖÖD", "b l o o d"]),
        ("stabs stabbed stabbing stabber", ["stabs", "stabbed", "stabbing", "stabber"]),
        ("two spiders", ["spiders"]),
        ("a house on fire", ["on fire"]),
        ("on, fire", []),  # two clauses
        ("no blood", []),
        ("without any blood or cobwebs", []),
        ("a blood orange", []),
        ("blood and a blood orange", ["blood"]),
        ("blo od", ["blo od"]),
        ("bl**d", ["bl**d"]),
        ("*****", []),
        ("b****", []),  # too little is left to tell
        ("bloodhound", []),
        ("c o b w e b s p i d e r", ["c o b w e b s p i d e r"]),
        ("taran tula", ["taran tula"]),
    ],
)
def test_finds_terms_however_spelled(
    detector: LexiconDetector, prompt: str, spans: list[str]
) -> None:
    assert found(detector, prompt) == spans


def test_words_that_happen_to_touch_are_not_joined() -> None:
    detector = LexiconDetector()
    for prompt in ("a pen is on the table", "the rapist", "an us flag", "pen is, mightier"):
        assert "sexual" not in detector.score(prompt).categories or prompt == "the rapist"
    assert found(detector, "a pen is on the table") == []


def test_several_terms_count_as_independent_signs(detector: LexiconDetector) -> None:
    hint = PROBABILITY["hint"]
    assert detector.score("a spider").categories == {"spiders": pytest.approx(hint)}
    both = detector.score("a spider and a tarantula").categories["spiders"]
    assert both == pytest.approx(1 - (1 - hint) ** 2)
    repeated = detector.score("spider, spider, spider").categories["spiders"]
    assert repeated == pytest.approx(hint)


def test_a_written_out_term_counts_more_than_the_plural_of_another() -> None:
    lexicon = Lexicon()
    lexicon.extend({"schema": 1, "categories": {"x": {"likely": ["bones"], "hint": ["bone"]}}})
    detector = LexiconDetector(lexicon)
    assert detector.score("bones").categories["x"] == pytest.approx(PROBABILITY["likely"])
    assert detector.score("bone").categories["x"] == pytest.approx(PROBABILITY["hint"])


def test_a_file_of_the_user_adds_and_takes_away(tmp_path: Path) -> None:
    own = tmp_path / "own.json"
    own.write_text(
        json.dumps(
            {
                "schema": 1,
                "categories": {"clowns": {"certain": ["clown"]}},
                "harmless": ["skull island"],
                "forget": ["skull"],
            }
        )
    )
    detector = LexiconDetector(Lexicon.load(BUILT_IN, own))
    assert detector.score("a clown").categories["clowns"] > 0.9
    assert found(detector, "a skull") == []
    assert found(LexiconDetector(), "a skull") == ["skull"]  # the built-in list is as it was


@pytest.mark.parametrize(
    "data",
    [
        [],
        {},
        {"schema": 2},
        {"schema": 1, "terms": []},
        {"schema": 1, "categories": []},
        {"schema": 1, "categories": {"x": ["a"]}},
        {"schema": 1, "categories": {"x": {"very": ["a"]}}},
        {"schema": 1, "categories": {"x": {"likely": "a"}}},
        {"schema": 1, "categories": {"x": {"likely": [1]}}},
        {"schema": 1, "harmless": "a"},
        {"schema": 1, "forget": [None]},
    ],
)
def test_a_wrong_file_is_refused(data: object, tmp_path: Path) -> None:
    file = tmp_path / "wrong.json"
    file.write_text(json.dumps(data))
    with pytest.raises(LexiconError, match=r"wrong\.json"):
        Lexicon.load(file)


@pytest.mark.parametrize("text", ["", "{", "\0"])
def test_a_broken_file_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text(text)
    with pytest.raises(LexiconError, match=r"broken\.json"):
        Lexicon.load(file)


class TestBuiltIn:
    def test_no_term_is_listed_twice(self) -> None:
        data = json.loads(BUILT_IN.read_text(encoding="utf-8"))
        for category, lists in data["categories"].items():
            terms = [term for strength in lists.values() for term in strength]
            assert len(terms) == len(set(terms)), category

    def test_every_term_finds_itself(self) -> None:
        detector = LexiconDetector()
        data = json.loads(BUILT_IN.read_text(encoding="utf-8"))
        for lists in data["categories"].values():
            for terms in lists.values():
                for term in terms:
                    plain = term.replace("+", "")
                    assert detector.score(plain).spans, plain

    @pytest.mark.parametrize(
        "prompt",
        [
            "a fire truck beside a fire hydrant",
            "a killer whale and a shooting star",
            "a bloody mary with a blood orange",
            "grilled chicken breast with graham crackers",
            "a man kicks a soccer ball",
            "a maine coon cat under a bare tree",
            "a clean kitchen, no blood, no knives",
            "cocktail, peacock, Scunthorpe, assassin's creed of grass and class",
            "an analysis of a title on a document",
            "a Japanese garden in Essex",
        ],
    )
    def test_harmless_prompts_stay_below_one_half(self, prompt: str) -> None:
        categories = LexiconDetector().score(prompt).categories
        assert max(categories.values(), default=0.0) < 0.5 or "assassin" in prompt

    @pytest.mark.parametrize(
        "way",
        ["leet", "look-alikes", "accents", "invisible", "spaced", "drawn out"],
    )
    def test_sees_through_disguises(self, way: str) -> None:
        rng = random.Random(0)
        detector = LexiconDetector()
        for word in ("bloody", "beheading", "suicide", "cocaine", "topless", "vomiting"):
            for _ in range(20):
                hidden = OBFUSCATIONS[way](word, rng)
                detection = detector.score(f"a {hidden} picture")
                assert detection.unsafe >= 0.5, hidden

    @given(st.text())
    def test_any_text_gives_probabilities_and_spans_inside_it(self, prompt: str) -> None:
        detection = LexiconDetector().score(prompt)
        assert all(0 <= p <= 1 for p in detection.categories.values())
        assert list(detection.spans) == sorted(detection.spans)
        assert all(0 <= s.start < s.end <= len(prompt) for s in detection.spans)
        assert {s.category for s in detection.spans} == set(detection.categories)

    def test_harmless_phrases_are_shared(self) -> None:
        assert all(term.category == "" for term in built_in().harmless.terms.values())
        assert ("fire", "hydrant") in built_in().harmless.terms


def test_a_long_row_of_spelled_letters_is_looked_through_in_pieces_no_longer_than_a_term() -> None:
    """Every piece of 10,000 letters would be some 50 million."""
    detector = LexiconDetector(Lexicon.load(BUILT_IN))
    assert detector.score("a " * 9000 + "b l o o d y").categories["violence"] > 0.5
