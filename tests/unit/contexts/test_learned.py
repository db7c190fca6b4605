"""Learned embeddings: what is learned, kept, refused and learned again. No real model here."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from safegen.conditioning.strategies import condition
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextError, ContextLibrary
from safegen.errors import InvalidValue, SafeGenError
from safegen.learned.embedding import learn
from safegen.learned.encoder import BATCH, encode_in_batches, identity_of, own_mean, start_mark
from safegen.learned.store import (
    FORMAT_VERSION,
    LearnedStore,
    NotLearned,
    learn_from_pairs,
    pairs_digest,
    pairs_of,
    read_embedding,
    read_pairs,
    to_bytes,
    write_pairs,
)

CONTEXT = SafetyContext("mine", "Mine", "", "", "calm", "blood", {"blood": "water"})
START = torch.tensor([0.0, 0.0, 0.0, 5.0])


class FakeEncoder:
    """A causal encoder of width 4: a start mark, then a token for each word, then padding.

    A word's token is (1, 0, 0, 0) for *blood*, (0, 1, 0, 0) for *water* and (0, 0, 1, 0) for
    any other; the closing mark and the padding are the sum of the words.
    """

    width = 4
    widths = (4,)
    tokens = 12

    def __init__(self, identity: str = "fake") -> None:
        self.identity = identity
        self.asked: list[int] = []

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        self.asked.append(len(texts))
        states = torch.zeros(len(texts), self.tokens, self.width)
        mask = torch.zeros(len(texts), self.tokens, dtype=torch.bool)
        kinds = {"blood": 0, "water": 1}
        for row, text in enumerate(texts):
            words = text.split()[: self.tokens - 2]
            for place, word in enumerate(words, 1):
                states[row, place, kinds.get(word, 2)] = 1.0
            states[row, len(words) + 1 :] = states[row].sum(0)
            states[row, 0] = START
            mask[row, 1 : len(words) + 2] = True
        return states, mask


PAIRS = [(f"a cup of blood {i}", f"a cup of water {i}") for i in range(40)]


class TestLearning:
    def test_finds_the_one_thing_that_differs(self) -> None:
        found = learn_from_pairs(PAIRS, FakeEncoder())
        assert found.rank == 1  # no more is in the pairs
        expected = torch.tensor([-1.0, 1.0, 0.0, 0.0])
        torch.testing.assert_close(found.direction / found.direction[1], expected)
        torch.testing.assert_close(found.basis.abs() * 2**0.5, expected.abs()[None])
        assert (found.pairs, found.encoder, found.digest) == (40, "fake", pairs_digest(PAIRS))
        torch.testing.assert_close(found.start, START)

    def test_projection_makes_the_unsafe_half_as_the_safe_one_but_for_the_start(self) -> None:
        encoder = FakeEncoder()
        found = learn_from_pairs(PAIRS, encoder)
        unsafe, safe = encoder.encode(PAIRS[0])[0]
        moved = condition("x", CONTEXT, "projection", learned=found).apply(unsafe)
        assert torch.equal(moved[0], START)
        axis = found.basis[0]
        before = ((unsafe - safe) @ axis)[1:].abs().mean()
        assert ((moved - safe) @ axis)[1:].abs().mean() < 0.5 * before

    def test_direction_moves_the_mean_of_unsafe_onto_the_mean_of_safe(self) -> None:
        """The mean of the prompts' own tokens, that is; padding has no part in it."""
        encoder = FakeEncoder()
        found = learn_from_pairs(PAIRS, encoder)
        edit = condition("x", CONTEXT, "direction", learned=found)
        unsafe, mask = encoder.encode([u for u, _ in PAIRS])
        safe, same_mask = encoder.encode([s for _, s in PAIRS])
        moved = torch.stack([edit.apply(row) for row in unsafe])
        torch.testing.assert_close(moved[mask].mean(0), safe[same_mask].mean(0))

    def test_axes_that_explain_little_are_left_out(self) -> None:
        """Two kinds of unsafe words make two axes; a single slip makes none."""
        kinds = [("blood", "water")] * 50 + [("blood", "cat")] * 40
        pairs = [(f"{a} {i}", f"{b} {i}") for i, (a, b) in enumerate(kinds)]
        assert learn_from_pairs(pairs, FakeEncoder()).rank == 2
        assert learn_from_pairs(pairs, FakeEncoder(), rank=1).rank == 1
        assert learn_from_pairs([*PAIRS, ("a dog", "a water")], FakeEncoder()).rank == 1

    def test_the_louder_of_two_encoders_does_not_decide_for_the_other(self) -> None:
        """Side by side, as SDXL's are: pairs differ in one axis of each, and by 100 to 1."""
        noise = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) * 1e-3
        safe = torch.zeros(40, 5)
        unsafe = safe + torch.tensor([0.0, 100.0, 0.0, 1.0, 0.0]) + noise
        alone = learn(unsafe, safe, encoder="two", rank=1, widths=(3, 2)).basis.abs()
        assert alone.shape == (2, 5)
        assert torch.allclose(alone, torch.eye(5)[[1, 3]], atol=1e-3)
        together = learn(unsafe, safe, encoder="two", rank=1).basis.abs()
        assert together[0, 3] < 0.02
        silent = learn(
            unsafe * torch.tensor([1, 1, 1, 0, 0]), safe, encoder="", rank=1, widths=(3, 2)
        )
        assert not silent.basis[:, 3:].any()

    @pytest.mark.parametrize("widths", [(3, 3), (5, 0), (4,)])
    def test_widths_that_do_not_make_a_token_are_refused(self, widths: tuple[int, ...]) -> None:
        with pytest.raises(InvalidValue, match="widths"):
            learn(torch.ones(3, 5), torch.zeros(3, 5), encoder="two", rank=1, widths=widths)

    def test_goes_in_batches_and_tells_how_far_it_is(self) -> None:
        encoder, told = FakeEncoder(), []
        learn_from_pairs(PAIRS, encoder, progress=lambda done, total: told.append((done, total)))
        assert encoder.asked == [BATCH, BATCH, 80 - 2 * BATCH]
        assert told == [(BATCH, 80), (2 * BATCH, 80), (80, 80)]

    @pytest.mark.parametrize("pairs", [[], [("a", "a")]])
    def test_pairs_that_say_nothing_are_refused(self, pairs: list[tuple[str, str]]) -> None:
        with pytest.raises(InvalidValue, match="pairs"):
            learn_from_pairs(pairs, FakeEncoder())

    def test_an_encoder_that_answers_nonsense_is_refused(self) -> None:
        class Broken(FakeEncoder):
            def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
                states, mask = super().encode(texts)
                return states * float("nan"), mask

        with pytest.raises(InvalidValue, match="finite"):
            learn_from_pairs(PAIRS, Broken())

        class Narrow(FakeEncoder):
            def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
                states, mask = super().encode(texts)
                return states[..., :3], mask

        with pytest.raises(InvalidValue, match="encoder output"):
            learn_from_pairs(PAIRS, Narrow())


class TestEncoder:
    def test_identity_is_of_weights_width_and_layer_not_of_names_or_precision(self) -> None:
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 3))
        for weight in module.parameters():
            weight.data = weight.data.half().float()  # as a half-precision checkpoint loads
        same = torch.nn.Sequential(*reversed(module))
        known = identity_of([module], 3)
        assert identity_of([same], 3) == known
        assert identity_of([module], 4) != known
        assert identity_of([module], 3, "skip2") != known
        assert identity_of([module, same], 3) != known
        assert identity_of([module.half()], 3) == known
        module[0].weight.data[0, 0] += 0.25
        assert identity_of([module], 3) != known

    def test_own_tokens_leave_start_and_padding_out(self) -> None:
        ((states, mask),) = encode_in_batches(FakeEncoder(), ["blood blood"])
        torch.testing.assert_close(own_mean(states, mask), torch.tensor([4 / 3, 0.0, 0.0, 0.0]))

    def test_a_first_token_that_depends_on_the_text_is_no_start_mark(self) -> None:
        encoded = encode_in_batches(FakeEncoder(), ["a", "b c"])
        assert start_mark(encoded) is not None
        encoded[0][0][0] *= -1
        assert start_mark(encoded) is None


class TestStore:
    @pytest.fixture
    def store(self, tmp_path: Path) -> LearnedStore:
        return LearnedStore(tmp_path / "own")

    def test_what_is_learned_is_found_again_by_its_encoder(self, store: LearnedStore) -> None:
        learned = store.learn(CONTEXT, FakeEncoder(), PAIRS)
        found = LearnedStore(store.folder).get("mine", "fake")
        for name in ("direction", "basis", "center", "start"):
            assert torch.equal(getattr(found, name), getattr(learned, name))
        assert (found.encoder, found.pairs, found.digest) == ("fake", 40, pairs_digest(PAIRS))

    def test_another_encoder_is_refused_with_the_way_out(self, store: LearnedStore) -> None:
        with pytest.raises(NotLearned, match="no embedding has been learned for context 'mine'"):
            store.get("mine", "fake")
        store.learn(CONTEXT, FakeEncoder(), PAIRS)
        with pytest.raises(NotLearned) as refusal:
            store.get("mine", "other")
        text = str(refusal.value)
        assert "another text encoder" in text
        assert "safegen contexts learn mine" in text
        assert "40 kept pairs" in text

    def test_a_file_under_the_wrong_name_is_not_taken_for_this_encoder(
        self, store: LearnedStore
    ) -> None:
        store.learn(CONTEXT, FakeEncoder(), PAIRS)
        (file,) = store.files("mine")
        file.rename(store._file("mine", "other"))
        with pytest.raises(NotLearned):
            store.get("mine", "other")

    def test_learning_again_takes_the_kept_pairs_and_one_call(self, store: LearnedStore) -> None:
        store.learn(CONTEXT, FakeEncoder(), PAIRS)
        again = store.learn(CONTEXT, FakeEncoder("other"))
        assert again.digest == pairs_digest(PAIRS)
        assert store.get("mine", "fake").digest == store.get("mine", "other").digest
        assert len(store.files("mine")) == 2

    def test_the_first_use_learns_and_the_next_ones_find_it(self, store: LearnedStore) -> None:
        encoder, told = FakeEncoder(), []
        first = store.for_encoder(CONTEXT, encoder, progress=lambda *done: told.append(done))
        assert told[-1][0] == told[-1][1] == sum(encoder.asked)
        found = store.for_encoder(CONTEXT, encoder)
        assert torch.equal(found.direction, first.direction)
        assert sum(encoder.asked) == told[-1][0]  # nothing more
        assert store.for_encoder(CONTEXT, FakeEncoder("other")).encoder == "other"

    def test_a_context_whose_words_changed_is_learned_again(self, store: LearnedStore) -> None:
        first = store.for_encoder(CONTEXT, FakeEncoder())
        changed = replace(CONTEXT, neutral={"blood": "lemonade"})
        assert store.for_encoder(changed, FakeEncoder()).digest != first.digest
        store.learn(CONTEXT, FakeEncoder(), PAIRS)  # a user's own pairs outlive that
        assert store.for_encoder(changed, FakeEncoder()).digest == pairs_digest(PAIRS)

    def test_without_any_pairs_the_contexts_own_words_serve(self, store: LearnedStore) -> None:
        learned = store.learn(CONTEXT, FakeEncoder())
        assert learned.digest == pairs_digest(pairs_of(CONTEXT))
        assert ("a photo of blood", "a photo of water") in pairs_of(CONTEXT)
        with pytest.raises(InvalidValue, match="neutral words"):
            pairs_of(replace(CONTEXT, neutral={}, unsafe_text=""))

    def test_a_failed_learning_leaves_what_was_there(self, store: LearnedStore) -> None:
        store.learn(CONTEXT, FakeEncoder(), PAIRS)
        before = {f.name: f.read_bytes() for f in store.files("mine")}
        with pytest.raises(InvalidValue):
            store.learn(CONTEXT, FakeEncoder(), [("same", "same")])
        assert {f.name: f.read_bytes() for f in store.files("mine")} == before
        assert list(store.kept_pairs("mine")) == PAIRS

    @pytest.mark.parametrize("name", ["../../x", "..", "a/b"])
    def test_no_name_leads_out_of_the_folder(self, store: LearnedStore, name: str) -> None:
        try:
            home = store._home(name).resolve()
        except InvalidValue:
            return
        assert home.parent == (store.folder / "learned").resolve()

    def test_follows_its_context_when_copied_renamed_and_deleted(self, store: LearnedStore) -> None:
        library = ContextLibrary(store.folder)
        library.add(CONTEXT)
        store.learn(CONTEXT, FakeEncoder(), PAIRS)
        library.duplicate("mine", "copy")
        assert store.get("copy", "fake").pairs == 40
        library.edit("mine", name="renamed")
        assert store.get("renamed", "fake").pairs == 40
        assert not store.files("mine")
        library.delete("renamed")
        assert not store.kept_pairs("renamed")
        assert store.get("copy", "fake").pairs == 40

    def test_built_in_contexts_can_learn_too(self, store: LearnedStore) -> None:
        violence = ContextLibrary(store.folder).get("violence")
        store.learn(violence, FakeEncoder(), PAIRS)
        assert store.get("violence", "fake").pairs == 40
        assert ContextLibrary(store.folder).problems == []


class TestFiles:
    def test_metadata_says_what_it_is_of(self, tmp_path: Path) -> None:
        from safetensors import safe_open

        file = tmp_path / "x.safetensors"
        file.write_bytes(to_bytes(learn_from_pairs(PAIRS, FakeEncoder()), "mine"))
        with safe_open(file, framework="pt") as opened:
            header = json.loads(opened.metadata()["safegen-embedding"])
        assert header == {
            "version": FORMAT_VERSION, "context": "mine", "encoder": "fake", "width": 4,
            "rank": 1, "pairs": 40, "pairs_sha256": pairs_digest(PAIRS),
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"version": 99}, "newer version"),
            ({"version": "1"}, "not a learned embedding"),
            ({"width": 5}, "is due"),
            ({"rank": 2}, "is due"),
            ({"pairs": "many"}, "damaged"),
        ],
    )
    def test_headers_that_are_wrong_are_refused(
        self, tmp_path: Path, change: dict[str, object], message: str
    ) -> None:
        header = {"version": 1, "encoder": "e", "width": 4, "rank": 1, "pairs": 1,
                  "pairs_sha256": ""}  # fmt: skip
        tensors = {"direction": torch.ones(4), "basis": torch.ones(1, 4), "center": torch.ones(4)}
        file = tmp_path / "x.safetensors"
        save_file(tensors, file, {"safegen-embedding": json.dumps(header)})
        assert read_embedding(file).width == 4
        save_file(tensors, file, {"safegen-embedding": json.dumps({**header, **change})})
        with pytest.raises(ContextError, match=message):
            read_embedding(file)
        save_file(
            {**tensors, "center": torch.full((4,), float("nan"))},
            file,
            {"safegen-embedding": json.dumps(header)},
        )
        with pytest.raises(ContextError, match="finite"):
            read_embedding(file)

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x04]", b"\xff" * 64])
    def test_files_of_another_kind_are_refused_by_name(
        self, tmp_path: Path, content: bytes
    ) -> None:
        file = tmp_path / "broken.safetensors"
        file.write_bytes(content)
        with pytest.raises(ContextError, match=r"broken\.safetensors"):
            read_embedding(file)

    def test_pairs_round_trip_whatever_is_in_them(self, tmp_path: Path) -> None:
        pairs = (('a, "quoted"\nprompt', "ein größerer Hund"), ("x", "y"))
        write_pairs(pairs, tmp_path / "pairs.csv")
        assert read_pairs(tmp_path / "pairs.csv") == pairs
        assert pairs_digest(read_pairs(tmp_path / "pairs.csv")) == pairs_digest(pairs)

    @pytest.mark.parametrize("text", ["", "unsafe\nx\n", "unsafe,safe\n", "unsafe,safe\nx,\n"])
    def test_files_without_pairs_name_themselves(self, tmp_path: Path, text: str) -> None:
        (tmp_path / "pairs.csv").write_text(text)
        with pytest.raises(SafeGenError, match=r"pairs\.csv"):
            read_pairs(tmp_path / "pairs.csv")
