"""What the fakes of the WebUI and of Forge have in common."""

from __future__ import annotations

from typing import Any


class FakeHost:
    """As much of `safegen.webui.host` as an adapter asks for."""

    def __init__(self, **options: Any) -> None:
        self.options, self.flow, self.loaded = options, False, "one"

    def checkpoint(self) -> str:
        return self.loaded

    def cond_at(self, schedule: Any, _step: int) -> Any:
        return schedule

    def option(self, name: str, default: Any) -> Any:
        return self.options.get(name, default)

    def callbacks(self, _category: str) -> list[Any]:
        return []

    def extension_of(self, _file: str) -> str:
        return ""

    def is_edit_model(self) -> bool:
        return False

    def is_flow_model(self) -> bool:
        return self.flow

    def is_own_denoiser(self, _denoiser: Any) -> bool:
        return True

    def calls_per_step(self, _p: Any, **_pass: bool) -> int:
        return 1

    def stopping(self) -> bool:
        return False
