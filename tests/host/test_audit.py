"""The operator's log of every picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver import BENIGN, HAZARD, HIRES, Host
from facts_closed import broken, enforced
from facts_guard import AUTO, ON, ROWS, poison
from facts_others import nested

from safegen.webui import audit


@pytest.fixture
def lines(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[], list[dict[str, Any]]]:
    """What was written since it was asked last; the log is kept."""
    monkeypatch.setattr(audit.host, "data_path", lambda: tmp_path)
    host.shared.opts.data["safegen_audit"] = "Without prompts"
    read = [0]

    def new() -> list[dict[str, Any]]:
        if not audit.file().exists():
            return []
        found = [json.loads(line) for line in audit.file().read_text().splitlines()]
        fresh, read[0] = found[read[0] :], len(found)
        return fresh

    return new


def test_every_picture_has_a_line(host: Host, lines: Callable[[], list[dict[str, Any]]]) -> None:
    with enforced(host, "basic"):
        host.make([HAZARD, BENIGN], AUTO, n_iter=2, batch_size=1)
    one, two = lines()
    assert (one["verdict"], one["context"], one["picture"]) == ("guarded", "violence", 0)
    assert (two["verdict"], two["context"], two["picture"]) == ("benign", None, 1)
    assert one["policy"] == "basic"
    assert one["calls"] == 8
    assert one["guarded"] == one["needed"] == 4
    assert (one["tab"], one["nested"], one["user"]) == ("txt2img", False, None)
    assert one["model"]
    host.make(HAZARD, None)
    host.make(HAZARD)
    off, bare = lines()
    assert (off["verdict"], bare["verdict"]) == ("off", "off")
    assert (off["policy"], bare["calls"]) == (None, None)


def test_what_failed_has_a_line_too(
    host: Host, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    host.make(HAZARD, {"weight": 7.0})
    with host.listening(first=True, denoised=poison):
        host.make(HAZARD, ON, batch_size=2)
    refused, *poisoned = lines()
    assert refused["verdict"] == "failed"
    assert "weight" in refused["message"]
    assert [line["verdict"] for line in poisoned] == ["failed"] * 2
    assert "not finite" in poisoned[0]["message"]
    nested(host, BENIGN, AUTO, lambda _: host.ask(HAZARD))
    inner, outer = lines()
    assert (inner["nested"], inner["context"]) == (True, "violence")
    assert (outer["nested"], outer["verdict"]) == (False, "benign")
    monkeypatch.setattr(host.processing, "decode_latent_batch", broken, raising=False)
    if host.make(HAZARD, None).error is not None:
        (line,) = lines()
        assert (line["verdict"], line["message"]) == (
            "failed",
            "The WebUI itself stopped. Its log says why.",
        )


def test_prompts_are_in_it_only_if_asked_for(
    host: Host, lines: Callable[[], list[dict[str, Any]]]
) -> None:
    fields = {"negative_prompt": "a bloody house", **HIRES, "hr_prompt": f"{HAZARD} at night"}
    host.make(HAZARD, ROWS, **fields)
    assert "bloody" not in json.dumps(lines())
    host.make(HAZARD, {**ON, "context": "no such bloody thing"})
    assert "bloody" not in json.dumps(lines())
    host.shared.opts.data["safegen_audit"] = "With prompts"
    host.make(HAZARD, ROWS, **fields)
    (line,) = lines()
    assert (line["prompt"], line["negative_prompt"]) == (HAZARD, "a bloody house")


def test_it_is_off_unless_asked_for(
    host: Host, lines: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    host.shared.opts.data["safegen_audit"] = "Off"
    host.make(HAZARD, ON)
    assert not lines()
    assert not list(tmp_path.iterdir())


def test_nothing_is_made_without_it(
    host: Host, lines: Callable[[], list[dict[str, Any]]], tmp_path: Path
) -> None:
    (tmp_path / "safegen").write_text("a file where the folder should be")
    for named in (ON, None):
        host.make(HAZARD, named).refused("SafeGen", "audit log")


def test_it_is_turned_over(
    host: Host, lines: Callable[[], list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LARGEST", 600)
    for _ in range(audit.KEPT + 4):
        host.make(HAZARD, ON)
    kept = sorted(audit.file().parent.glob("audit.jsonl*"))
    assert len(kept) == audit.KEPT + 1
    assert all(file.stat().st_size <= 600 for file in kept)
    assert json.loads(kept[-1].read_text().splitlines()[0])["verdict"] == "guarded"
