"""One browser's view of the page, without a browser: what an event changes in it."""

from __future__ import annotations

import re
import time
from html import unescape
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

SECONDS = 60.0
"""A job that has not ended by then does not."""


class Accordions:
    """Txt2img's and img2img's controls. It keeps what each shows, as gradio's own page does.

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
        self.follow()

    def follow(self) -> None:
        """What the page's script asks for: when the page is loaded, and when contexts change."""
        for tab in ("txt2img", "img2img"):
            self.fire("click", f"script_{tab}_safegen_changed")

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

    def offered(self, tab: str) -> list[str]:
        """The contexts that a tab's accordion offers."""
        return list(self[f"script_{tab}_safegen_context"]["choices"])


class Window(Accordions):
    """The same with SafeGen's tab, as `javascript/safegen_tab.js` keeps it.

    ``shown`` is what stands in each place, ``form`` what stands in the fields.
    """

    def __init__(self, demo: Any, session: str) -> None:
        from safegen.webui.tab import routes

        super().__init__(demo, session)
        app = FastAPI()
        routes.register(app)
        self.routes = TestClient(app)
        self.shown: dict[str, str] = {}
        self.form: dict[str, str] = {}
        self.beside = {"search": "", "sample": "", "strategy": "counterpart"}
        self.state: dict[str, Any] = {"drafts": None, "shown": "", "unsaved": False}
        self.told: list[dict[str, Any]] = []
        self.panes = self.routes.get("/safegen/tab").text
        self.do("refresh")

    def ask(self, name: str, body: Any) -> dict[str, Any]:
        """An answer of the server, shown."""
        response = self.routes.post(f"/safegen/tab/{name}", json=body)
        deadline = time.monotonic() + SECONDS
        while response.status_code == 200 and response.json().get("job"):
            assert time.monotonic() < deadline
            self.told.append(response.json())
            response = self.routes.get(f"/safegen/tab/job/{response.json()['job']}")
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        self.shown.update(answer.get("html", {}))
        return answer

    # ------------------------------------------------------------------ contexts

    def do(self, what: str, **more: Any) -> None:
        """Something with the context that is shown, such as ``save``."""
        body = {"do": what, "form": self.form, **self.beside, **more}
        body.update(drafts=self.state["drafts"], shown=self.state["shown"])
        answer = self.ask("contexts", body)
        self.form = answer.get("form", self.form)
        self.state = answer
        if answer.get("changed"):
            self.follow()

    def type(self, name: str, text: str) -> None:
        """Write into a field of the form, or beside it."""
        (self.beside if name in self.beside else self.form)[name] = text
        self.do("typed")

    def pick(self, key: str) -> None:
        self.do("pick", picked=key)

    def upload(self, file: Path, *, replace: bool = False) -> None:
        self.do("import", file=sent(file), replace=replace)

    def learn(self, pairs: Path | None = None) -> None:
        self.ask(
            "learn",
            {"shown": self.state["shown"], "pairs": None if pairs is None else sent(pairs)},
        )

    @property
    def can_write(self) -> bool:
        """Whether the form can be written in."""
        return not self.state["builtIn"]

    @property
    def said(self) -> str:
        return self.shown.get("safegen_context_message", "")

    @property
    def learned(self) -> str:
        return self.shown["safegen_context_learned"]

    @property
    def listed(self) -> dict[str, str]:
        """Key to label."""
        entries = re.findall(
            r'value="([^"]*)"><span>(.*?)</span>', self.shown["safegen_context_list"]
        )
        return {unescape(key): unescape(label) for key, label in entries}

    # ------------------------------------------------------------------ the other panes

    def check(self, prompts: str, **others: Any) -> str:
        """What the pane that checks prompts finds."""
        asked = {
            "by_line": True,
            "threshold": 0.6,
            "detectors": ["lexicon", "ngram"],
            "strategy": "counterpart",
        }
        self.ask("check", {"prompts": prompts, **asked, **others})
        return self.shown["safegen_check_found"]

    def fit(self, what: str = "probe") -> str:
        """What is said when the probe has been fitted, or could not be."""
        answer = self.ask("fit", {"what": what})
        return str(answer.get("said") or answer["failed"])

    @property
    def status(self) -> str:
        self.ask("status", {})
        return self.shown["safegen_status_report"]


def sent(file: Path) -> dict[str, str]:
    """A file as the page sends it."""
    return {"name": file.name, "text": file.read_text(encoding="utf-8")}
