"""The errors a user can read."""

from __future__ import annotations


class SafeGenError(Exception):
    """Any error that SafeGen raises on purpose; its text is for the user."""


class InvalidValue(SafeGenError, ValueError):
    """A setting that is not allowed: names the field, the value and what is allowed."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field, self.value, self.allowed = field, value, allowed
        try:
            shown = repr(value)
        except Exception:  # a whole number of thousands of digits, which Python won't print
            shown = f"this {type(value).__name__}"
        super().__init__(f"{field}: {shown} is not allowed; allowed: {allowed}")


class GuardFailure(SafeGenError, RuntimeError):
    """The guard did not run where it had to; the picture must not be shown."""


class Unsupported(SafeGenError, RuntimeError):
    """A host, model or mode that SafeGen cannot guard; raised before anything is sampled."""
