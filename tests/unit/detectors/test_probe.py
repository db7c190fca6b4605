"""The encoder probe in a space where the truth is known."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file
from torch import Tensor

from safegen.choice import Chooser
from safegen.contexts.context import SafetyContext
from safegen.detectors.auto import AutoPolicy, score_passages
from safegen.detectors.probe import ProbeDetector
from safegen.errors import InvalidValue
from safegen.learned.pairs import Pair
from safegen.learned.probe import (
    FEWEST_PAIRS,
    ProbeError,
    ProbeStore,
    fit,
    read_probe,
    to_bytes,
)
from safegen.plan import SafetyPlan
from safegen.text.syntax import prepare

AXES = {"gore": 0, "gruesome": 0, "nude": 1, "naked": 1}


class FakeEncoder:
    """Words are fixed random vectors; those of `AXES` also point along their category's axis."""

    width = 24
    widths = (24,)
    tokens = 20

    def __init__(self, identity: str = "fake") -> None:
        self.identity = identity
        self.broken = False

    def word(self, word: str) -> Tensor:
        vector = torch.randn(self.width, generator=torch.Generator().manual_seed(hash_of(word)))
        vector[:2] = 0.0
        if word in AXES:
            vector[AXES[word]] = 4.0
        return vector

    def encode(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        if self.broken:
            raise RuntimeError("out of memory")
        states = torch.zeros(len(texts), self.tokens, self.width)
        mask = torch.zeros(len(texts), self.tokens, dtype=torch.bool)
        for row, text in enumerate(texts):
            words = text.split()[: self.tokens - 2]
            for place, word in enumerate(words, 1):
                states[row, place] = self.word(word)
            mask[row, 1 : len(words) + 2] = True
        return states, mask


def hash_of(word: str) -> int:
    return int.from_bytes(word.encode()[:6], "big")


NOUNS = "cat dog tree river house lamp chair road cloud stone bread glass paper".split()  # noqa: SIM905


def pairs(count: int = 400, seed: int = 0) -> list[Pair]:
    rng = random.Random(seed)
    made = []
    for _ in range(count):
        scene = " ".join(rng.sample(NOUNS, 4))
        category, word = rng.choice(
            [
                ("violence", "gore"),
                ("violence", "gruesome"),
                ("sexual", "nude"),
                ("sexual", "naked"),
            ]
        )
        made.append(Pair(category, f"{word} {scene}", f"{rng.choice(NOUNS)} {scene}"))
    return made


@pytest.fixture(scope="module")
def detector() -> ProbeDetector:
    encoder = FakeEncoder()
    return ProbeDetector(fit(pairs(), encoder), encoder)


class TestFit:
    def test_finds_what_differs_on_pairs_that_were_held_out(self, detector: ProbeDetector) -> None:
        origin = detector.probe.origin
        assert origin["auc"] > 0.98
        assert origin["right_category"] > 0.95
        assert origin["held_out"] >= 50
        assert detector.probe.categories == ("sexual", "violence")

    def test_is_calibrated_on_prompts_it_never_saw(self, detector: ProbeDetector) -> None:
        held = pairs(150, seed=9)
        bad = [detector.score(p.unsafe).unsafe for p in held]
        good = [detector.score(p.safe).unsafe for p in held]
        assert abs(sum(bad + good) / 300 - 0.5) < 0.05
        assert sum(p >= 0.5 for p in bad) > 140
        assert sum(p >= 0.5 for p in good) < 10

    def test_labels_that_say_nothing_give_chance_and_no_certainty(self) -> None:
        rng = random.Random(3)
        made = []
        for _ in range(400):
            one, other = rng.sample(NOUNS, 4), rng.sample(NOUNS, 4)
            made.append(Pair("violence", " ".join(one), " ".join(other)))
        probe = fit(made, FakeEncoder())
        assert 0.35 < probe.origin["auc"] < 0.65
        encoder = FakeEncoder()
        scores = [ProbeDetector(probe, encoder).score(p.unsafe).unsafe for p in made[:50]]
        assert max(scores) < 0.9

    def test_is_the_same_every_time(self, detector: ProbeDetector) -> None:
        again = fit(pairs(), FakeEncoder())
        assert torch.equal(again.weight, detector.probe.weight)

    def test_too_few_pairs_or_none_with_a_category_are_refused(self) -> None:
        with pytest.raises(InvalidValue, match="pairs"):
            fit(pairs(FEWEST_PAIRS - 1), FakeEncoder())
        with pytest.raises(InvalidValue, match="category"):
            fit([*pairs(), Pair(" ", "a", "b")], FakeEncoder())
        with pytest.raises(ProbeError, match="too few scenes"):
            fit([Pair("violence", f"gore {i}", "cat") for i in range(30)], FakeEncoder())


class TestScore:
    def test_the_category_and_the_words_that_caused_it(self, detector: ProbeDetector) -> None:
        prompt = "a cat and naked tree"
        found = detector.score(prompt)
        assert found.categories["sexual"] == found.unsafe > 0.6
        assert found.categories["sexual"] > 2 * found.categories["violence"]
        assert [prompt[s.start : s.end] for s in found.spans] == ["naked"]
        assert {(s.category, s.detector) for s in found.spans} == {("sexual", "probe")}

    def test_a_harmless_prompt_has_no_spans(self, detector: ProbeDetector) -> None:
        found = detector.score("a cat and a tree")
        assert found.unsafe < 0.5
        assert found.spans == ()

    @pytest.mark.parametrize("prompt", ["", "   ", "..."])
    def test_a_prompt_without_words_is_scored_all_the_same(
        self, detector: ProbeDetector, prompt: str
    ) -> None:
        assert 0.0 <= detector.score(prompt).unsafe <= 1.0


class TestRefusal:
    def test_of_another_encoder(self, detector: ProbeDetector) -> None:
        with pytest.raises(ProbeError, match="another text encoder"):
            ProbeDetector(detector.probe, FakeEncoder("other"))

    def test_a_failing_encoder_counts_as_unsafe(self, detector: ProbeDetector) -> None:
        encoder = FakeEncoder()
        probing = ProbeDetector(detector.probe, encoder)
        encoder.broken = True
        found = score_passages(probing, prepare("a cat"))
        assert found.unsafe == 1.0
        assert "out of memory" in str(found.error)
        assert AutoPolicy((probing,)).judge("a cat").context is not None

    def test_an_encoder_that_answers_nan_counts_as_unsafe(self, detector: ProbeDetector) -> None:
        encoder = FakeEncoder()
        encode = encoder.encode
        encoder.encode = lambda texts: (encode(texts)[0] * math.nan, encode(texts)[1])  # type: ignore[method-assign]
        found = score_passages(ProbeDetector(detector.probe, encoder), prepare("a cat"))
        assert found.unsafe == 1.0

    def test_a_plan_that_asks_for_it_where_it_is_not_is_told_why(
        self, detector: ProbeDetector
    ) -> None:
        plan = SafetyPlan(detectors=("lexicon", "probe"))
        with pytest.raises(InvalidValue, match="safegen probe fit"):
            Chooser.default().choose("a cat", plan)
        chooser = Chooser.default()
        chooser.detectors["probe"] = detector
        choice = chooser.choose("a naked cat", plan)
        assert choice.context is not None
        assert {span.detector for span in choice.verdict.spans} >= {"probe"}


class TestStore:
    def test_keeps_probe_and_pairs_and_fits_again_in_one_call(self, tmp_path: Path) -> None:
        store = ProbeStore(tmp_path)
        with pytest.raises(ProbeError, match="safegen probe fit"):
            store.get("fake")
        probe = store.fit(FakeEncoder(), pairs())
        found = store.get("fake")
        for name in ("weight", "bias", "mean", "scale"):
            assert torch.equal(getattr(found, name), getattr(probe, name))
        assert (found.slope, found.offset, found.origin) == (
            probe.slope, probe.offset, probe.origin,
        )  # fmt: skip
        with pytest.raises(ProbeError, match="no probe"):
            store.get("other")
        again = store.fit(FakeEncoder("other"))
        assert again.origin["pairs_sha256"] == probe.origin["pairs_sha256"]
        other = FakeEncoder("other")
        assert ProbeDetector(store.get(other.identity), other).probe.encoder == "other"

    @pytest.mark.parametrize("content", [b"", b"\x80\x04]", b"\xff" * 64])
    def test_files_of_another_kind_are_refused_by_name(
        self, tmp_path: Path, content: bytes
    ) -> None:
        (tmp_path / "broken.safetensors").write_bytes(content)
        with pytest.raises(ProbeError, match=r"broken\.safetensors"):
            read_probe(tmp_path / "broken.safetensors")

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("weight", torch.zeros(2, 24)),
            ("scale", torch.zeros(24)),
            ("mean", torch.full((24,), math.nan)),
        ],
    )
    def test_damaged_tables_are_refused(
        self, tmp_path: Path, detector: ProbeDetector, name: str, value: Tensor
    ) -> None:
        data = to_bytes(detector.probe)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])["__metadata__"]
        save_file({**load(data), name: value.double()}, tmp_path / "x.safetensors", header)
        with pytest.raises(ProbeError):
            read_probe(tmp_path / "x.safetensors")


def test_a_context_of_ones_own_is_found_by_the_probes_category() -> None:
    encoder = FakeEncoder()
    made = [Pair("spiders", p.unsafe, p.safe) for p in pairs(200)]
    own = SafetyContext("no-spiders", "No spiders", "spiders", "", "calm", "")
    auto = AutoPolicy((ProbeDetector(fit(made, encoder), encoder),), (own,))
    assert auto.judge("gore cat tree river house").context == own
