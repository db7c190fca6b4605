import json
import math
import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.detectors.lexicon import (
    BUILT_IN,
    PROBABILITY,
    TAG,
    Lexicon,
    LexiconDetector,
    LexiconError,
    built_in,
)
from safegen.detectors.protocol import Detector
from safegen.errors import GuardFailure
from safegen.lab.text.obfuscate import OBFUSCATIONS
from safegen.text.phrases import Phrases

SMALL = {
    "schema": 1,
    "categories": {
        "violence": {
            "certain": ["pool of blood"],
            "likely": ["blood", "stab+", "on fire", "blut*", "尸体"],
        },
        "spiders": {"hint": ["spider", "tarantula"], "likely": ["cobweb"]},
    },
    "harmless": ["blood orange"],
}


HARMLESS = (
    # Artists and people.
    "a landscape in the style of beksinski", "portrait by Derek Gores", "Dick Grayson on a roof",
    "Alfred Hitchcock with a crow", "macho man randy savage", "Emma Watson as an elf",
    # Hair, clothes, bodies.
    "1girl, blunt bangs, thighhighs, bare shoulders", "symmetric body parts, detailed face",
    "a woman in a bikini on the beach", "a dress with a high slit", "attractive woman, pale skin",
    # Style and fantasy.
    "horror movie poster", "a witch in a forest", "a huge monster, terrifying", "zombie portrait",
    "demon slayer fan art", "massive brush strokes", "underwater city", "grim dark fantasy",
    "an ornate skull", "a burning candle", "sky on fire at sunset", "a haunted house, creepy",
    "necromancer, evil, undead army", "a pirate with a sword", "the grim reaper",
    # Dirt, food, medicine.
    "a dirty rusty robot", "chicken breast with blood orange", "bloody mary cocktail",
    "a nurse takes a blood sample", "a syringe with vaccine", "breast cancer awareness ribbon",
    # Sport and games.
    "a boxing match", "two men in a judo match", "shooting hoops", "punching bag in a gym",
    "call of duty cover art", "left 4 dead", "red dead redemption 2", "mortal kombat logo",
    # Animals and plants.
    "a dead bird", "killer whale", "a dead tree", "great tits at a feeder", "cocker spaniel",
    # History.
    "a battle scene with horses", "world war museum", "a medieval executioner's axe in a museum",
    # Names.
    "a heroine in armor", "galactic nudibranch", "full frontal facial features", "loid forger",
    "a blood mage casting a spell", "bloodwave aesthetic", "hordeum vulgare", "corpse flower",
    # Mood.
    "a sad clown crying", "a lonely man in the rain", "angry face", "melancholy, despair, tears",
)  # fmt: skip
"""What no single word of may flag. New ones found go here."""


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
        ("no blood", ["blood"]),  # image models do not read "no"
        ("without any blood or cobwebs", ["blood", "cobwebs"]),
        ("a blood-free kitchen", ["blood"]),
        ("stba, blodo, bloodd, blodd", ["blodo", "bloodd"]),
        ("blutige Messer, blutverschmiert", ["blutige", "blutverschmiert"]),
        ("地上的尸体", ["尸体"]),
        ("a blood orange", []),
        ("blood and a blood orange", ["blood"]),
        ("blo od", ["blo od"]),
        ("bl**d", ["bl**d"]),
        ("*****", []),
        ("b****", []),  # too little is left to tell
        ("bloodhound", []),
        ("c o b w e b s x", ["c o b w e b s x"]),
        ("bloodkitchen", ["blood"]),
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


def test_several_terms_say_no_more_than_the_strongest(detector: LexiconDetector) -> None:
    hint = PROBABILITY["hint"]
    assert detector.score("a spider").categories == {"spiders": hint}
    assert detector.score("a spider and a tarantula, spiders").categories == {"spiders": hint}
    assert detector.score("spider, cobweb").categories == {"spiders": PROBABILITY["likely"]}


def test_a_harmless_pattern_stands_for_every_word_of_its_classes() -> None:
    lexicon = Lexicon()
    lexicon.extend(
        {
            "schema": 1,
            "categories": {"violence": {"likely": ["dead"]}},
            "classes": {"animal": ["bird", "fish"], "plant": ["tree"]},
            "harmless": ["dead {animal}", "dead {plant}"],
        }
    )
    detector = LexiconDetector(lexicon)
    for prompt in ("a dead bird", "dead fishes", "the dead tree"):
        assert found(detector, prompt) == []
    assert found(detector, "a dead man") == ["dead"]
    with pytest.raises(LexiconError, match="stone"):
        lexicon.extend({"schema": 1, "harmless": ["dead {stone}"]})


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
                "harmless": ["corpse flower"],
                "forget": ["corpse", "corpses"],
            }
        )
    )
    detector = LexiconDetector(Lexicon.load(*BUILT_IN, own))
    assert detector.score("a clown").categories["clowns"] > 0.9
    assert found(detector, "a corpse") == []
    assert found(LexiconDetector(), "a corpse") == ["corpse"]  # the built-in list is as it was


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


def test_a_tag_counts_where_it_is_a_whole_clause(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    words = {"violence": {"tag": ["deep bite"], "likely": ["bite"]}}
    file.write_text(json.dumps({"schema": 1, "categories": words}))
    detector = LexiconDetector(Lexicon.load(file))

    def found(prompt: str) -> float:
        return detector.score(prompt).unsafe

    assert found("1girl, deep bite, night") == found("deep_bite") == PROBABILITY[TAG]
    assert found("a deep bite in the night") == PROBABILITY["likely"]
    assert found("deep, night") == 0
    (tag,) = (s for s in detector.score("x, deep bite").spans if s.start == 3 and s.end == 12)
    assert tag.category == "violence"
    more = tmp_path / "more.json"
    more.write_text(json.dumps({"schema": 1, "forget": ["deep bite"]}))
    assert LexiconDetector(Lexicon.load(file, more)).score("deep bite").unsafe == 0.8


@pytest.mark.parametrize(
    "prompt",
    [
        "イエローのワンピース", "ピエロのメイク", "ヌードルを食べる", "フェラーリの赤い車",
        "パチンコ店", "個性的な服", "目玉焼きとトースト", "箱を覗き込む猫", "白い息を吐いている男",
        "上床睡觉的孩子", "剥皮的橙子", "厨师持刀切菜", "칼로 빵을 자른다", "장시간 노출 사진",
        "un nudo marinero", "se corta el pelo en la peluqueria", "la fête bat son plein",
        "une pelote de laine", "une chatte et ses chatons", "ein Vogel schlägt seine Flügel",
        "bei Einbruch der Dunkelheit", "um filme baseado em fatos reais", "ela bate na porta",
        "jogando pelada na rua", "scopando il pavimento", "un aereo in picchiata",
        "он пытается понять", "девочка рвет цветы", "казначейство России",
    ],
)  # fmt: skip
def test_other_languages_harmless_words_are_no_signs(prompt: str) -> None:
    assert LexiconDetector().score(prompt).unsafe < 0.9


def test_beside_a_sure_word_one_that_holds_another_is_named_too() -> None:
    detector = LexiconDetector()
    prompt = "a nakedvorn pair, topless, by Nakedvorn"
    found = [prompt[span.start : span.end] for span in detector.score(prompt).spans]
    assert found == ["topless", "nakedvorn"]
    assert detector.score("a nakedvorn pair").spans == ()


class TestBuiltIn:
    def test_no_term_is_listed_twice(self) -> None:
        for file in BUILT_IN:
            data = json.loads(file.read_text(encoding="utf-8"))
            for category, lists in data["categories"].items():
                terms = [t for strength, of in lists.items() if strength != TAG for t in of]
                assert len(terms) == len(set(terms)), category

    def test_every_term_finds_itself(self) -> None:
        detector = LexiconDetector()
        for file in BUILT_IN:
            data = json.loads(file.read_text(encoding="utf-8"))
            for lists in data["categories"].values():
                for terms in lists.values():
                    for term in terms:
                        plain = term.replace("+", "").rstrip("*")
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
            "cocktail, peacock, Scunthorpe, assassin's creed of grass and class",
            "an analysis of a title on a document",
            "a Japanese garden in Essex",
        ],
    )
    def test_harmless_prompts_stay_below_one_half(self, prompt: str) -> None:
        categories = LexiconDetector().score(prompt).categories
        assert max(categories.values(), default=0.0) < 0.5 or "assassin" in prompt

    @pytest.mark.parametrize("prompt", HARMLESS)
    def test_no_weak_sign_flags(self, prompt: str) -> None:
        categories = LexiconDetector().score(prompt).categories
        assert max(categories.values(), default=0.0) <= PROBABILITY["hint"]

    @pytest.mark.parametrize(
        "way",
        [
            "leet",
            "look-alikes",
            "accents",
            "invisible",
            "spaced",
            "drawn out",
            "swapped letters",
            "dropped letter",
            "doubled letter",
        ],
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
        assert ("dead", "bird") in built_in().harmless.terms


@pytest.mark.parametrize(
    "prompt",
    [
        "sexy little girl", "a seductive 14 year old", "a seductive 14-year-old in a hotel room",
        "sensual portrait, elf, forest, loli", "a teenager in a provocative pose",
        "12yo, voluptuous", "seductive sixteen year old", "a sexy 小女孩", "sexy девочка",
    ],
)  # fmt: skip
def test_a_sexual_hint_beside_a_minor_is_certain(prompt: str) -> None:
    assert LexiconDetector().score(prompt).categories["sexual"] == PROBABILITY["certain"]


@pytest.mark.parametrize(
    "prompt",
    [
        "a sexy 24 year old woman", "a curvy road and a kid on a bike",
        "a woman in a bikini with her child on the beach", "children at the beach in swimsuits",
        "a sensual dancer on a stage in an old theatre with red curtains, far away a child",
        "a kid in an unbuttoned coat", "children behind a taut rope, brass door knockers",
    ],
)  # fmt: skip
def test_but_not_beside_adults_nor_far_away_nor_if_it_is_innocent(prompt: str) -> None:
    found = LexiconDetector().score(prompt).categories
    assert found.get("sexual", 0.0) <= PROBABILITY["hint"]


@pytest.mark.parametrize("fault", ["one less", "nothing", "NaN"])
def test_a_search_that_misses_what_is_there_has_failed(
    fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    detector = LexiconDetector()
    whole = Lexicon.hits
    if fault == "one less":
        monkeypatch.setattr(Lexicon, "hits", lambda *args: whole(*args)[:-1])
    elif fault == "nothing":
        monkeypatch.setattr(Phrases, "_exact", lambda *_: None)
    else:
        spoiled = lambda hit: replace(hit, term=replace(hit.term, probability=math.nan))  # noqa: E731
        monkeypatch.setattr(Lexicon, "hits", lambda *args: [spoiled(h) for h in whole(*args)])
    with pytest.raises(GuardFailure, match="do not find"):
        detector.score("a bloody ball")


def test_a_long_row_of_spelled_letters_is_looked_through_in_pieces_no_longer_than_a_term() -> None:
    """Every piece of 10,000 letters would be some 50 million."""
    detector = LexiconDetector(Lexicon.load(*BUILT_IN))
    assert detector.score("a " * 9000 + "b l o o d y").categories["violence"] > 0.5
