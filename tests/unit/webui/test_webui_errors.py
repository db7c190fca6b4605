"""What a user reads begins with SafeGen's name, on the page and from the API."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from safegen.errors import GuardFailure, InvalidValue, SafeGenError, Unsupported
from safegen.webui.errors import Refused, explained, explaining, for_caller, message

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
    error = for_caller(GuardFailure(text), PAGE)
    assert isinstance(error, Refused)
    assert str(error) == shown


@pytest.mark.parametrize(
    ("error", "status", "field"),
    [
        (InvalidValue("weight", 7, "a number from 0 to 1"), 422, "weight"),
        (Unsupported("not this host"), 422, None),
        (GuardFailure("it went wrong"), 500, None),
    ],
)
def test_the_api_answers_whose_fault_it_is(
    error: SafeGenError, status: int, field: str | None
) -> None:
    answer = for_caller(error, API)
    assert answer.status_code == status  # type: ignore[attr-defined]
    detail = answer.detail  # type: ignore[attr-defined]
    assert detail["field"] == field
    assert detail["message"] == f"SafeGen: {error}"


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
