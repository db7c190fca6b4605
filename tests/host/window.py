"""One browser's view of a gradio page, without a browser: what an event changes in it."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

NAMES = ("name", "label", "category", "description", "safe_text", "unsafe_text")
NAMES += ("neutral", "fallback", "weight", "tau")


class Window:
    """It keeps what every control shows, as gradio's own page does.

    Args:
        demo: The page.
        session: Tells one browser from another.
    """

    def __init__(self, demo: Any, session: str) -> None:
        self.session, self.client, self.config = session, TestClient(demo.app), demo.config
        self.ids: dict[str, int] = {}
        self.props: dict[int, dict[str, Any]] = {}
        for component in self.config["components"]:
            self.props[component["id"]] = dict(component["props"])
            self.ids[component["props"].get("elem_id") or ""] = component["id"]
        self.fire("load")
        self.arrive()

    def arrive(self) -> None:
        """What the page's script asks for when the page is loaded, and opening the tab's panes."""
        for tab in ("txt2img", "img2img"):
            self.fire("click", f"script_{tab}_safegen_changed")
        for pane in ("contexts", "status"):
            self.fire("select", f"safegen_tab_{pane}")

    def __getitem__(self, elem_id: str) -> dict[str, Any]:
        """What a control shows now: its value, whether it can be used or seen."""
        return self.props[self.ids[elem_id]]

    def value(self, elem_id: str) -> Any:
        return self[elem_id].get("value")

    def set(self, elem_id: str, value: Any) -> None:
        """Change a control without an event of its own."""
        self[elem_id]["value"] = value

    def fire(self, event: str, elem_id: str | None = None, value: Any = None) -> None:
        """What the user does: set a control's value, if there is one, and trigger an event."""
        target = None if elem_id is None else self.ids[elem_id]
        if value is not None:
            self.props[target]["value"] = value
        for index, dependency in enumerate(self.config["dependencies"]):
            if dependency["trigger"] == event and (
                target is None or target in dependency["targets"]
            ):
                self._run(index, dependency)

    def _run(self, index: int, dependency: dict[str, Any]) -> None:
        """One event, and those that come after it."""
        if not dependency["backend_fn"]:
            return
        data = [self.props[one].get("value") for one in dependency["inputs"]]
        sent = {"fn_index": index, "data": data, "session_hash": self.session}
        answer = self.client.post("/run/predict", json=sent)
        assert answer.status_code == 200, answer.text
        for one, found in zip(dependency["outputs"], answer.json()["data"], strict=True):
            if isinstance(found, dict) and found.get("__type__") == "update":
                self.props[one].update({k: v for k, v in found.items() if k != "__type__"})
            else:
                self.props[one]["value"] = found
        for after, other in enumerate(self.config["dependencies"]):
            if other.get("trigger_after") == index:
                self._run(after, other)

    # ------------------------------------------------------------------ SafeGen's tab

    def click(self, name: str) -> None:
        self.fire("click", f"safegen_{name}")

    def type(self, name: str, text: str) -> None:
        self.fire("input", f"safegen_{name}", text)
        self.click("context_typed")  # as the page's script does

    def pick(self, key: str) -> None:
        self.fire("input", "safegen_context_list", key)

    def upload(self, name: str, file: Path) -> None:
        self.fire("upload", f"safegen_{name}", sent(file))

    def check(self, prompts: str, **others: Any) -> str:
        """What the pane that checks prompts finds."""
        for name, value in {"prompts": prompts, **others}.items():
            self.set(f"safegen_check_{name}", value)
        self.click("check_go")
        return str(self.value("safegen_check_found"))

    @property
    def status(self) -> str:
        self.click("status_refresh")
        return str(self.value("safegen_status_report"))

    @property
    def form(self) -> dict[str, str]:
        return {name: self.value(f"safegen_context_{name}") for name in NAMES}

    @property
    def said(self) -> str:
        return str(self.value("safegen_context_message"))

    @property
    def learned(self) -> str:
        return str(self.value("safegen_context_learned"))

    @property
    def listed(self) -> dict[str, str]:
        """Key to label."""
        return {key: label for label, key in self["safegen_context_list"]["choices"]}

    def offered(self, tab: str) -> list[str]:
        """The contexts that a tab's accordion offers."""
        return list(self[f"script_{tab}_safegen_context"]["choices"])


def sent(file: Path) -> dict[str, Any]:
    """A file as the browser sends it."""
    content = base64.b64encode(file.read_bytes()).decode()
    return {"name": file.name, "data": f"data:application/json;base64,{content}", "is_file": False}
