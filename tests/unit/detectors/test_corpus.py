import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


def test_style_words_for_measuring_are_not_those_for_training() -> None:
    plain = [
        {" ".join(s.split()) for s in styles} for styles in (corpus.STYLES, corpus.UNSEEN_STYLES)
    ]
    assert not plain[0] & plain[1]
    assert all(all(styles) for styles in plain)


def test_styles_are_put_after_the_prompt() -> None:
    text = corpus.with_styles("A cat.", random.Random(0), ["a  b", "c"], most=2)
    assert text.startswith("A cat, ")
    assert "  " not in text


def test_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('category,unsafe,safe\nx,"a, b",c\n')
    (tmp_path / "p.tsv").write_text("Prompt\tNote\na cat\tx\n")
    assert pairs_module.read_pairs(tmp_path / "p.csv") == [Pair("x", "a, b", "c")]
    assert corpus.read_prompts(tmp_path / "p.tsv") == ["a cat"]
    with pytest.raises(CorpusError, match="no column prompt"):
        corpus.read_prompts(tmp_path / "p.csv")
    with pytest.raises(CorpusError, match=r"none\.csv"):
        corpus.read_prompts(tmp_path / "none.csv")
