"""Where pictures come from: what a sweep asks of a backend, and how a backend refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from safegen.errors import SafeGenError
from safegen.lab.sweep.cells import Unit
from safegen.lab.sweep.manifest import Picture

UNKNOWN = "unknown"
"""The version of what a backend does not tell."""


class BackendError(SafeGenError):
    """A backend did not deliver; says which one and why.

    Args:
        message: For the user.
        status: The HTTP status of a server's answer, 0 for none.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message, status)
        self.message, self.status = message, status

    def __str__(self) -> str:
        return self.message


class Temporary(BackendError):
    """Worth another try: a connection that broke, a server that is starting or overloaded."""


class TooSlow(Temporary):
    """No answer in time; another backend may be faster, this one would not be."""


class Refused(BackendError):
    """This unit cannot be made here, whoever tries; other units can."""


class Unusable(BackendError):
    """This backend must not be asked again: wrong address, password, model or version."""


@dataclass(frozen=True)
class BackendInfo:
    """What a backend is, for the manifest.

    Args:
        model: Name of its checkpoint.
        model_hash: Digest of its checkpoint: backends of one sweep must agree on it.
        versions: Name to version of what makes the pictures: a picture of other versions is
            another picture. `UNKNOWN` for what it does not tell.
    """

    model: str
    model_hash: str
    versions: Mapping[str, str]

    def to_data(self) -> dict[str, Any]:
        """The info in JSON types."""
        return {
            "model": self.model,
            "model_hash": self.model_hash,
            "versions": dict(self.versions),
        }


class Backend(Protocol):
    """Makes pictures. Instances travel between processes, so they hold settings, not handles."""

    @property
    def name(self) -> str:
        """Unique among the backends of a sweep, such as a server's address without password."""
        ...

    def probe(self) -> BackendInfo:
        """Say what it is, or raise `Unusable` or `Temporary` with a reason a user can act on."""
        ...

    def make(self, unit: Unit) -> list[Picture]:
        """Make every picture of ``unit``, in order, or raise a `BackendError`."""
        ...


def ask(backend: Backend, unit: Unit) -> list[Picture]:
    """``backend.make(unit)``, as a function that executors can send elsewhere.

    Any other error that SafeGen raises on purpose, such as a guard's failure, is the unit's
    own: it becomes `Refused`. All these errors travel between processes.
    """
    try:
        return backend.make(unit)
    except BackendError:
        raise
    except SafeGenError as error:
        raise Refused(f"{backend.name}: {error}") from error
