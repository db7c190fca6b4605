"""Methods of our own around those of one of the host's objects."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from safegen.errors import GuardFailure


class Wrapping:
    """Puts functions around an object's methods, and leaves it as it was found.

    Args:
        owner: The object; its class stays as it is.
    """

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self._before: dict[str, Any] = {}

    def put(self, name: str, method: Callable[..., Any], *, stops: bool = False) -> None:
        """From now on ``owner.name(...)`` is ``method(original, ...)``.

        Args:
            stops: Whether the host's own interrupt comes through it, which is no `Exception`.
                Elsewhere what looks like one is an error, and is raised as a `GuardFailure`.
        """
        original = getattr(self.owner, name)
        self._before[name] = vars(self.owner).get(name)

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(original, *args, **kwargs)
            except (Exception, KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:
                if stops:
                    raise
                raise GuardFailure(
                    f"SafeGen stopped this picture because of an error of its own: {error!r}"
                ) from error

        setattr(self.owner, name, wrapper)

    def off(self) -> None:
        """Put back what was there, an attribute of another extension's included."""
        for name, own in self._before.items():
            vars(self.owner).pop(name, None)
            if own is not None:
                setattr(self.owner, name, own)
        self._before = {}
