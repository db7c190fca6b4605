"""The byte-level BPE tokenizer: each word of the world is a token, and any text encodes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

transformers = pytest.importorskip("transformers")

from safegen.lab.demo.model import MODEL_FOLDER  # noqa: E402
from safegen.lab.demo.world import OBJECTS, vocabulary  # noqa: E402
from safegen.lab.model.tokenizer import write  # noqa: E402


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return transformers.CLIPTokenizer.from_pretrained(MODEL_FOLDER / "tokenizer")


def test_a_word_of_the_world_is_one_token(tokenizer: Any) -> None:
    for word in (*OBJECTS, "bloody", "burning", "skull", "beach", "peaceful"):
        assert len(tokenizer.tokenize(word)) == 1, word


@settings(max_examples=200, deadline=None)
@given(st.text(min_size=1, max_size=30))
def test_any_text_encodes_without_unknown_tokens(tokenizer: Any, text: str) -> None:
    ids = tokenizer(text).input_ids
    assert ids[0] == tokenizer.bos_token_id
    assert ids[-1] == tokenizer.eos_token_id
    # the unknown token is the end token, which must not stand in for a symbol
    assert tokenizer.eos_token_id not in ids[1:-1] or "<|endoftext|>" in text.lower()


def test_the_committed_files_are_what_the_vocabulary_gives(tmp_path: Path) -> None:
    write(vocabulary(), tmp_path)
    for name in ("vocab.json", "merges.txt"):
        committed = (MODEL_FOLDER / "tokenizer" / name).read_text(encoding="utf-8")
        assert (tmp_path / name).read_text(encoding="utf-8") == committed
