"""What a host is told for each AND part, and learned embeddings by the context that applies."""

import pytest
import torch

from safegen.choice import Chooser
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import ContextLibrary
from safegen.detectors.auto import default_detectors
from safegen.errors import InvalidValue
from safegen.learned.embedding import LearnedEmbedding, learn
from safegen.plan import SafetyPlan


@pytest.fixture(scope="module")
def chooser() -> Chooser:
    return Chooser(ContextLibrary(), {d.name: d for d in default_detectors()})


def test_parts_without_anything_to_make_safe_are_none(chooser: Chooser) -> None:
    choice = chooser.choose("a bloody cup:0.5 AND a cat AND gore:-1", SafetyPlan())
    first, second, third = choice.parts
    assert first is not None
    assert first.text == "a clean cup"
    assert second is None
    assert third is None
    assert choice.conditioning is not None
    assert choice.conditioning.text == "a clean cup:0.5 AND a cat AND gore:-1"


def test_a_harmless_prompt_has_as_many_parts(chooser: Chooser) -> None:
    assert chooser.choose("a cat AND a dog", SafetyPlan()).parts == (None, None)
    assert chooser.choose("a cat", SafetyPlan()).parts == (None,)


def test_with_the_context_in_every_part_none_is_left_out(chooser: Chooser) -> None:
    plan = SafetyPlan(context="violence", strategy="prepend")
    assert all(chooser.choose("a cat AND a dog", plan).parts)


def test_where_every_part_is_moved_away_from_there_is_nothing_to_guard(chooser: Chooser) -> None:
    plan = SafetyPlan(context="violence")
    assert chooser.choose_parts("gore:-1 AND blood:0", plan).context is None
    assert chooser.choose_parts("gore:-1 AND blood", plan).context is not None


class TestLearned:
    def embedding(self, value: float) -> LearnedEmbedding:
        return learn(torch.full((2, 3), value), torch.zeros(2, 3), encoder="e", rank=1)

    def test_is_asked_for_the_context_that_auto_picked(self, chooser: Chooser) -> None:
        asked: list[str] = []

        def find(context: SafetyContext) -> LearnedEmbedding:
            asked.append(context.name)
            return self.embedding(2.0)

        plan = SafetyPlan(strategy="direction")
        choice = chooser.choose("a bloody cup", plan, learned=find)
        assert asked == ["violence"]
        assert choice.conditioning is not None
        moved = choice.conditioning.apply(torch.zeros(1, 3))
        torch.testing.assert_close(moved, torch.full((1, 3), -2.0))

    def test_is_not_asked_for_where_no_strategy_needs_it(self, chooser: Chooser) -> None:
        def refuse(_: SafetyContext) -> LearnedEmbedding:
            raise AssertionError

        chooser.choose("a bloody cup", SafetyPlan(), learned=refuse)
        chooser.choose("a cat", SafetyPlan(strategy="direction"), learned=refuse)

    def test_that_is_missing_is_said(self, chooser: Chooser) -> None:
        with pytest.raises(InvalidValue, match="learn one"):
            chooser.choose("a bloody cup", SafetyPlan(strategy="projection"))
