"""Errors name what went wrong in a way a user can act on."""

from __future__ import annotations

import pytest

from safegen.errors import GuardFailure, InvalidValue, SafeGenError, Unsupported


def test_an_invalid_value_names_field_value_and_what_is_allowed() -> None:
    error = InvalidValue("weight", 1.5, "a number from 0 to 1")
    assert (error.field, error.value, error.allowed) == ("weight", 1.5, "a number from 0 to 1")
    assert str(error) == "weight: 1.5 is not allowed; allowed: a number from 0 to 1"


def test_a_text_is_shown_in_quotes_with_its_line_breaks_escaped() -> None:
    assert str(InvalidValue("curve", "a\nb", "x")) == r"curve: 'a\nb' is not allowed; allowed: x"


def test_a_value_that_cannot_be_printed_is_refused_all_the_same() -> None:
    class Shy:
        def __repr__(self) -> str:
            raise RuntimeError("not me")

    message = str(InvalidValue("weight", Shy(), "a number from 0 to 1"))
    assert message == "weight: this Shy is not allowed; allowed: a number from 0 to 1"


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [(InvalidValue, ValueError), (GuardFailure, RuntimeError), (Unsupported, RuntimeError)],
)
def test_every_error_is_ours_and_of_the_builtin_kind(kind: type, builtin: type) -> None:
    assert issubclass(kind, SafeGenError)
    assert issubclass(kind, builtin)


def test_a_guard_failure_is_no_invalid_value() -> None:
    """A host may skip a bad value and go on; it must not do so with a failed guard."""
    assert not issubclass(GuardFailure, ValueError)
    assert not issubclass(InvalidValue, RuntimeError)
