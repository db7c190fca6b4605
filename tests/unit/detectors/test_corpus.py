import json
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safegen.files import sha256
from safegen.lab.text import corpus
from safegen.learned import pairs as pairs_module
from safegen.learned.pairs import CorpusError, Pair, divide, scenes, stems


def jaccard(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / len(a | b)


def test_twins_rewordings_and_repetitions_are_one_scene() -> None:
    pairs = [
        Pair("x", "A man strikes a dog in the park", "A man pats a dog in the park"),
        Pair("x", "A man strikes the dog in a park.", "Something else altogether here"),
        Pair("y", "Unrelated words entirely", "A man pats a dog in the park"),
        Pair("y", "Another thing", "And its own safe text"),
    ]
    found = scenes(pairs)
    assert found[0] == found[1] == found[2] != found[3]


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6), max_size=12))
def test_similar_texts_are_all_found(words: list[list[str]]) -> None:
    texts = [frozenset(w) for w in words]
    expected = {
        (i, j)
        for i in range(len(texts))
        for j in range(i)
        if jaccard(texts[i], texts[j]) >= pairs_module.SAME_SCENE
    }
    assert set(pairs_module._similar(texts, pairs_module.SAME_SCENE)) == expected


def test_no_scene_is_in_two_parts_and_nothing_is_lost() -> None:
    rng = random.Random(0)
    words = [f"word{chr(97 + i)}{chr(97 + j)}" for i in range(8) for j in range(8)]
    pairs = [
        Pair("x", " ".join(rng.sample(words, 3)), " ".join(rng.sample(words, 3)))
        for _ in range(300)
    ]
    groups = scenes(pairs)
    parts = divide(pairs, groups)
    assert sorted(repr(p) for part in parts.values() for p in part) == sorted(map(repr, pairs))
    for one, other in (("train", "test"), ("train", "calibration"), ("calibration", "test")):
        for a in parts[one]:
            for b in parts[other]:
                for side in ("unsafe", "safe"):
                    texts = stems(getattr(a, side)), stems(getattr(b, side))
                    assert jaccard(*texts) < pairs_module.SAME_SCENE


def test_division_has_the_shares_asked_for_and_is_always_the_same() -> None:
    parts = divide(range(1000))
    assert {name: len(items) for name, items in parts.items()} == {
        name: round(1000 * share) for name, share in pairs_module.PARTS.items()
    }
    assert parts == divide(range(1000))
    assert parts != divide(range(1000), seed=1)


def test_prompts_are_divided_by_scene_with_their_row_numbers(tmp_path: Path) -> None:
    file = tmp_path / "prompts.csv"
    rows = [f"word{i} thing{i} place{i}" for i in range(40)]
    file.write_text("\n".join(["prompt", *rows, *rows]) + "\n")
    parts = corpus.divided(file)
    assert sorted(row.number for part in parts.values() for row in part) == list(range(80))
    assert all(row.text == [*rows, *rows][row.number] for part in parts.values() for row in part)
    for part in parts.values():  # the repetition is where the first is
        assert {row.number % 40 for row in part} == {row.number for row in part if row.number < 40}


def test_the_second_division_halves_the_first_ones_test_part(tmp_path: Path) -> None:
    file = tmp_path / "prompts.csv"
    letters = [f"{a}{b}" for a in "abcdefghijklmnopqrst" for b in "abcdefghijklmnopqrst"]
    rows = [f"word{x} thing{x} place{x}" for x in letters]
    file.write_text("\n".join(["prompt", *rows]) + "\n")
    groups = pairs_module.scenes([Pair("", row, "") for row in rows])
    first = set(divide(range(400), groups, corpus.SEED)["test"])
    parts = {name: {r.number for r in of} for name, of in corpus.divided(file).items()}
    assert parts["calibration"] | parts["test"] == first
    assert len(parts["calibration"]) == pytest.approx(len(parts["test"]), abs=3)


def test_other_files_than_those_trained_on_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_text("prompt\na\n")
    corpus.check({"sha256": {"prompts": sha256(file)}}, {"prompts": file})
    file.write_text("prompt\nb\n")
    with pytest.raises(CorpusError, match=r"p\.csv is not the prompts"):
        corpus.check({"sha256": {"prompts": "0" * 64}}, {"prompts": file})
    with pytest.raises(CorpusError):
        corpus.check({}, {"prompts": file})


@pytest.mark.parametrize("language", corpus.LANGUAGES)
def test_sentences_of_a_language_have_its_script(language: str) -> None:
    text = corpus.harmless_sentence(language, random.Random(1))
    expected = {"ja": "ja", "zh": "zh", "ko": "ko", "ru": "ru"}.get(language, "")
    assert corpus.language_of(text) == expected


def test_byte_order_marks_and_short_rows_are_read(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    file.write_bytes(b"\xef\xbb\xbfcategory,unsafe,safe\nx,a,b\ny,c\n,d,e\n")
    assert pairs_module.read_pairs(file) == [Pair("x", "a", "b"), Pair("", "d", "e")]
    file.write_text("unsafe,safe\na,b\n")
    assert pairs_module.read_pairs(file, categories=False) == [Pair("", "a", "b")]
    with pytest.raises(CorpusError, match="no column category"):
        pairs_module.read_pairs(file)
    file.write_text("unsafe,safe\na,\n")
    with pytest.raises(CorpusError, match="no pairs"):
        pairs_module.read_pairs(file, categories=False)


def test_our_own_pairs_cover_the_categories_and_differ_in_the_harm_alone() -> None:
    own = pairs_module.own_pairs()
    assert len({pair.category for pair in own}) == 7
    assert len(set(own)) == len(own)
    for pair in own:
        assert pair.unsafe != pair.safe
    assert set(pairs_module.own_pairs("hate")) == {p for p in own if p.category == "hate"}


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('category,unsafe,safe\nx,"a, b",c\n')
    (tmp_path / "p.tsv").write_text("Prompt\tNote\na cat\tx\n")
    assert pairs_module.read_pairs(tmp_path / "p.csv") == [Pair("x", "a, b", "c")]
    assert corpus.read_prompts(tmp_path / "p.tsv") == ["a cat"]
    with pytest.raises(CorpusError, match="no column prompt"):
        corpus.read_prompts(tmp_path / "p.csv")
    with pytest.raises(CorpusError, match=r"none\.csv"):
        corpus.read_prompts(tmp_path / "none.csv")


def test_peoples_prompts_are_what_their_readers_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, known = tmp_path / "prompts.txt", tmp_path / "people.json"
    file.write_text("a cat\n\na bleeding man\na fight of robots\na cat, again\n")
    said = {"sha256": sha256(file), "harmful": {"violence": [2]}, "harmless": [3], "left_out": [4]}
    known.write_text(json.dumps({**said, "source": "the very file"}))
    monkeypatch.setattr(corpus, "PEOPLE", known)
    assert corpus.read_people(file) == [
        corpus.Read("a cat"),
        corpus.Read("a bleeding man", "violence", doubted=True),
        corpus.Read("a fight of robots", doubted=True),
    ]
    file.write_text("a cat\n")
    with pytest.raises(CorpusError, match=r"prompts.txt is not the file.*the very file"):
        corpus.read_people(file)


def test_no_line_of_peoples_prompts_is_named_twice() -> None:
    data = json.loads(corpus.PEOPLE.read_text())
    lines = [n for of in data["harmful"].values() for n in of]
    lines += data["harmless"] + data["left_out"]
    assert len(lines) == len(set(lines))
