"""What whoever finds the project reads first is short, true and of one piece."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest

import safegen
from safegen.webui import enforcement

ROOT = Path(__file__).parents[2]
POLICIES = sorted((ROOT / "docs" / "policies").glob("*.json"))
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


def _field(name: str) -> str:
    """A field of pyproject.toml, which Python 3.10 can't read by itself."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found = re.search(rf'^{name} = "(.+)"$', text, re.MULTILINE)
    assert found, name
    return found[1]


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


def test_one_version() -> None:
    version = _field("version")
    assert safegen.__version__ == version
    assert f"version: {version}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"{{{version}}}" in (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_one_address() -> None:
    entry = json.loads((ROOT / "docs" / "extension-index.json").read_text(encoding="utf-8"))
    assert set(entry) == {"name", "url", "description", "added", "tags"}
    assert entry["url"] == _field("Repository")
    assert "THIS-REPOSITORY" not in (ROOT / "README.md").read_text(encoding="utf-8")


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as its readers' site makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    kept = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        place = page.parent / path if path else page
        assert place.exists(), target
        if anchor:
            assert anchor in _anchors(place), target


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_ready_policy_can_be_enforced(path: Path) -> None:
    policy = enforcement.load(str(path))
    assert policy is not None
    weakest = safegen.SafetyPlan(
        enabled=False,
        weight=0.0,
        tau=0.4,
        threshold=1.0,
        end=0.5,
        dial="reconstruction",
        push=0.0,
        strategy="away",
        refresh=10,
        hires=False,
        detectors=("lexicon",),
    )
    raised, _said = policy.apply(weakest)
    assert raised.enabled
    strict = enforcement.LEVELS["strict"]
    assert strict.apply(raised) == (raised, ()), "less than strict"
    for user, own in policy.users.items():
        plan, _said = own.apply(weakest)
        assert (plan.weight, plan.push) >= (0.7, 1.0), user
        assert (plan.dial, plan.end, plan.hires) == ("conditioning", 1.0, True), user


def test_the_order_among_other_extensions_is_read_by_the_host() -> None:
    """It looks for a section of the scripts' folder. A section of callbacks names our folder, and
    in a folder of another name each makes a line in the log: see ``webui/registry.py``."""
    found = configparser.ConfigParser()
    found.read_string((ROOT / "metadata.ini").read_text(encoding="utf-8"))
    folder = found["Extension"]["Name"]
    assert _field("Repository").endswith(f"/{folder}.git"), "Install from URL names it so"
    assert found.sections() == ["Extension", "scripts"]
    assert "sd-webui-controlnet" in found["scripts"]["After"]
    assert (ROOT / "scripts").is_dir()
