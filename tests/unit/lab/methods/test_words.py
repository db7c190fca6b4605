"""What each method is told in words."""

from __future__ import annotations

import pytest

from safegen.choice import Chooser
from safegen.errors import InvalidValue
from safegen.lab.methods.catalogue import (
    AND_NOT,
    AND_SAFE,
    NEGATIVE,
    PEERS,
    PLAIN,
    SAFEGEN,
    SWAP,
    SWAP_NEGATIVE,
    TWIN,
    Arm,
    safegen_arms,
)
from safegen.lab.methods.words import Texts, plan_for, texts_for
from safegen.lab.prompts import Prompt
from safegen.plan import SafetyPlan

RISKY = "a bloody red ball on the beach"
CHOOSER = Chooser.default()


def said(method: str, text: str, context: str = "", *, arm: str = "", **more: object) -> Texts:
    concept = str(more.pop("concept", ""))
    settings = tuple((k, float(str(v))) for k, v in more.items())
    prompt = Prompt("1", text, "hazard", context=context, harmless="a red ball on the beach")
    return texts_for(Arm(method, None, settings, concept, arm), prompt, CHOOSER)


def test_methods_in_the_prompt_boxes() -> None:
    assert said(PLAIN, RISKY) == Texts(RISKY)
    assert said(TWIN, RISKY) == Texts("a red ball on the beach")
    assert said(NEGATIVE, RISKY, concept="blood").negative == "blood"
    swapped = said(SWAP, RISKY)
    assert "bloody" not in swapped.prompt
    assert "red ball on the beach" in swapped.prompt
    assert swapped.context == "violence"
    assert said(SWAP, "a red ball on the beach").prompt == "a red ball on the beach"
    both = said(AND_SAFE, RISKY, arm="violence").webui_prompt
    first, second = both.split(" AND ")
    assert first == f"{RISKY} :0.5"
    assert second.endswith(" :0.5")
    assert said(AND_SAFE, "a red ball on the beach").webui_prompt == "a red ball on the beach"
    negated = said(AND_NOT, "a cat AND a dog", concept="blood").webui_prompt
    assert negated == "a cat and a dog :1 AND blood :-1"


def test_swap_and_negative_prompt_are_both() -> None:
    both = said(SWAP_NEGATIVE, RISKY, "violence")
    assert both.prompt == said(SWAP, RISKY, "violence").prompt
    assert both.negative == said(NEGATIVE, RISKY, "violence").negative != ""


def test_peers_are_told_the_prompts_own_context() -> None:
    wanted = CHOOSER.library.get("self-harm")
    assert said(NEGATIVE, RISKY, "self-harm").negative == wanted.unsafe_text
    assert said(AND_SAFE, "a ball", "self-harm").also == wanted.safe_text
    # A prompt that names none: the arm's, or violence.
    assert said(NEGATIVE, "a ball", arm="hate").negative == CHOOSER.library.get("hate").unsafe_text
    assert said(NEGATIVE, "a ball").negative == CHOOSER.library.get("violence").unsafe_text
    prompts = [Prompt(str(i), "a ball", "hazard", context="self-harm") for i in range(2)]
    arm, told = Arm(SAFEGEN, SafetyPlan()), Arm(SAFEGEN, SafetyPlan(), told=True)
    assert plan_for(arm, prompts).context == "auto"
    assert plan_for(told, prompts).context == "self-harm"
    assert plan_for(told, [Prompt("1", "a ball", "benign")]).context == "auto"
    with pytest.raises(InvalidValue, match="one context"):
        plan_for(told, [*prompts, Prompt("3", "a ball", "benign")])


def test_settings_change_the_words() -> None:
    assert said(NEGATIVE, RISKY, concept="blood", strength=2).webui_negative == "(blood:2)"
    assert said(NEGATIVE, RISKY, concept="blood").webui_negative == "blood"
    assert said(AND_SAFE, RISKY, "violence", share=0.7).weights == pytest.approx((0.3, 0.7))
    broad = said(SWAP, RISKY, "violence", broad=1).prompt
    assert broad.startswith(CHOOSER.library.get("violence").safe_text)
    assert broad.endswith(said(SWAP, RISKY, "violence").prompt)


def test_what_does_not_live_in_prompt_boxes_is_refused() -> None:
    with pytest.raises(InvalidValue, match="on a WebUI"):
        said("SLD max", RISKY)
    with pytest.raises(InvalidValue, match="strength"):
        Arm(NEGATIVE, settings=(("force", 1.0),))
    with pytest.raises(InvalidValue, match="plan"):
        Arm(SAFEGEN)


def test_labels_say_what_is_not_the_default() -> None:
    assert Arm(SAFEGEN, SafetyPlan()).label == "SafeGen"
    assert Arm(SAFEGEN, SafetyPlan(strategy="context"), told=True).label == (
        "SafeGen, told, strategy context"
    )
    assert Arm("SLD max", settings=(("scale", 500.0),)).label == "SLD max, scale 500"


def test_weight_zero_is_the_plain_picture_and_no_arm() -> None:
    arms = safegen_arms(SafetyPlan(), {"weight": [0.0, 0.5, 0.5, 1.0], "tau": [0.0, 0.2]})
    assert len(arms) == 4
    for arm in arms:
        assert Arm.from_data(arm.to_data()) == arm


@pytest.mark.parametrize("name", PEERS)
def test_trials_begin_with_what_is_published_and_move_every_option(name: str) -> None:
    peer = PEERS[name]
    trials = peer.trials(6)
    assert 2 <= len(trials) <= 6
    assert all(trials[0][option] == peer.options[option] for option in trials[0])
    assert len({tuple(t.items()) for t in trials}) == len(trials)
    for option in peer.tuned:
        assert len({trial[option] for trial in trials}) > 1, option
