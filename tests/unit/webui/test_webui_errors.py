"""What a user reads begins with SafeGen's name, on the page and from the API."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from safegen.errors import GuardFailure, InvalidValue, SafeGenError, Unsupported
from safegen.plan import SETTINGS, SafetyPlan
from safegen.webui import words
from safegen.webui.enforcement import PolicyError
from safegen.webui.errors import (
    DETAILS,
    SafeGen,
    explained,
    explaining,
    for_caller,
    message,
    plainly,
)

PAGE, API = SimpleNamespace(is_api=False), SimpleNamespace(is_api=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("SafeGen stopped this picture", "SafeGen: stopped this picture"),
        ("weight: 7 is not allowed", "SafeGen: weight: 7 is not allowed"),
        ("SafeGen: said before", "SafeGen: said before"),
    ],
)
def test_a_message_begins_with_the_name_once(text: str, shown: str) -> None:
    assert message(text) == shown


def test_the_page_s_message_is_for_everybody_and_has_the_reason_behind_details() -> None:
    error = for_caller(GuardFailure("SafeGen stopped this picture: a call went unguarded"), PAGE)
    assert type(error) is SafeGen, "the host puts this class's name before the text"
    said, reason = str(error).split(DETAILS)
    assert said == words.refusal()
    assert reason == "SafeGen stopped this picture: a call went unguarded."


def test_the_operator_s_own_sentence_takes_the_place_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(words.Asked, "refusal", staticmethod(lambda: "Ask Miss Lee. "))
    assert str(for_caller(Unsupported("no"), PAGE)).startswith("Ask Miss Lee. Details: ")


def test_who_can_t_generate_at_all_is_not_told_to_try_other_words() -> None:
    said = str(for_caller(PolicyError("The policy can't be used."), PAGE))
    assert said.startswith("Nothing is generated here until SafeGen can work. Details: ")


def test_what_is_wrong_with_a_control_is_said_by_its_label_and_nothing_before_it() -> None:
    with pytest.raises(InvalidValue) as caught:
        SafetyPlan(tau=0.9, end=0.5)
    tau, end = SETTINGS["tau"].label, SETTINGS["end"].label
    assert str(for_caller(caught.value, PAGE)) == f"{tau} (0.9) must be below {end} (0.5)."
    assert plainly(InvalidValue("cfg_scale", 0, "above 0")) == (
        "CFG scale: 0 is not allowed. Allowed: above 0."
    )


@pytest.mark.parametrize(
    ("error", "status", "field", "said"),
    [
        (
            InvalidValue("tau", 7, "a number from 0 to 0.95"),
            422,
            "tau",
            "Global-context threshold: 7 is not allowed. Allowed: a number from 0 to 0.95.",
        ),
        (Unsupported("not this host"), 422, None, "Not this host."),
        (GuardFailure("it went wrong"), 500, None, "It went wrong."),
    ],
)
def test_the_api_answers_whose_fault_it_is_in_words_for_people(
    error: SafeGenError, status: int, field: str | None, said: str
) -> None:
    answer = for_caller(error, API)
    assert answer.status_code == status  # type: ignore[attr-defined]
    detail = answer.detail  # type: ignore[attr-defined]
    assert detail["field"] == field
    assert detail["message"] == f"SafeGen: {said}"
    assert detail["plain"] == said


def test_an_error_of_our_own_keeps_its_traceback() -> None:
    own = InvalidValue("weight", 7, "less")
    assert explained(own) is own
    with pytest.raises(GuardFailure, match="an error of its own") as caught, explaining():
        raise KeyError("lost")
    assert isinstance(caught.value.__cause__, KeyError)
    assert caught.value.__cause__.__traceback__ is not None
    with pytest.raises(InvalidValue) as meant, explaining():
        raise own
    assert meant.value is own
