"""The start of a run: what makes the pictures, and whether it is what made those already there."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import safegen
from safegen.contexts.context import SafetyContext
from safegen.contexts.library import to_text
from safegen.errors import SafeGenError
from safegen.lab.sweep.backends import UNKNOWN, BackendInfo
from safegen.lab.sweep.manifest import FORMAT, Manifest, ManifestError

_NOT_THE_METHOD = (
    "cli",
    "webui",
    "lab/report",
    "lab/studies",
    "lab/text",
    "lab/judge",
    "lab/scorers",
)
"""Parts of the package that no picture depends on."""


class ConditionsChanged(ManifestError):
    """A folder's pictures were made under other conditions than this run's."""


def code_digest() -> str:
    """A digest of the code that makes pictures: a changed method's pictures are others."""
    root = Path(safegen.__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*root.rglob("*.py"), *root.rglob("*.json"), *root.rglob("*.npz")]):
        name = path.relative_to(root).as_posix()
        if not name.startswith(_NOT_THE_METHOD):
            digest.update(name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def contexts_digest(contexts: Iterable[SafetyContext]) -> str:
    """A digest of everything that contexts say, whatever they are called."""
    texts = sorted(to_text(context) for context in contexts)
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:16]


def check_agree(infos: Mapping[str, BackendInfo]) -> BackendInfo:
    """The one thing that all backends of a sweep are.

    Raises:
        SafeGenError: Two of them have different checkpoints, or run different versions.
    """
    for one, other in itertools.combinations(infos, 2):  # all: the first may not tell everything
        here, there = infos[one], infos[other]
        if there.model_hash != here.model_hash or there.model != here.model:
            raise SafeGenError(
                f"{one} has {here.model} [{here.model_hash[:10]}] loaded, {other} has "
                f"{there.model} [{there.model_hash[:10]}]: a sweep is about one checkpoint"
            )
        changes = differences(here.versions, there.versions)
        if changes:
            raise SafeGenError(
                f"{one} and {other} differ in {'; '.join(changes)}: a sweep needs the same "
                "versions everywhere"
            )
    return next(iter(infos.values()))


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """What is known of both and not the same, in words.

    What is not told is no difference: a WebUI without its page (``--nowebui``) hides its version.
    """
    return [
        f"{name}: {one[name]} here, {other[name]} there"
        for name in sorted(one.keys() & other.keys())
        if UNKNOWN not in (one[name], other[name]) and one[name] != other[name]
    ]


def check_resumable(
    header: Mapping[str, Any], info: BackendInfo, conditions: Mapping[str, str]
) -> None:
    """A folder's pictures are resumed only under the conditions in which they were begun.

    Raises:
        ConditionsChanged: Another checkpoint, version, batch size, or other words in a context.
    """
    known = header["model_hash"] or header["model"]
    if known != (info.model_hash or info.model):
        raise ConditionsChanged(
            f"this folder is about {header['model']} [{header['model_hash'][:10]}], but "
            f"{info.model} [{info.model_hash[:10]}] is loaded: load that one, or choose another "
            "--out"
        )
    changes = [
        f"{name} was {header['conditions'][name]}, is {conditions[name]}"
        for name in sorted(header["conditions"].keys() & conditions.keys())
        if UNKNOWN not in (header["conditions"][name], conditions[name])
        and header["conditions"][name] != conditions[name]
    ]
    if changes:
        raise ConditionsChanged(
            "this folder was begun under other conditions, which make other pictures: "
            f"{'; '.join(changes)}. Restore them, or choose another --out"
        )


def begin(
    manifest: Manifest,
    infos: Mapping[str, BackendInfo],
    command: Mapping[str, Any],
    prompt_sets: Sequence[Mapping[str, Any]],
    *,
    batch: int,
    contexts: str,
) -> None:
    """Write the folder's first line, or check that this run goes with it; then note the run.

    Args:
        manifest: The folder, entered.
        infos: What each backend is.
        command: The run's options, for the report.
        prompt_sets: `PromptSet.to_data` of each.
        batch: Pictures made together: another number rounds otherwise.
        contexts: `contexts_digest` of the words that methods are told.

    Raises:
        SafeGenError: see `check_agree` and `check_resumable`; also a prompt set of the same name
            with other content.
    """
    info = check_agree(infos)
    conditions = {**info.versions, "batch": str(batch), "contexts": contexts}
    header = manifest.header()
    if header is not None:
        check_resumable(header, info, conditions)
    for run in manifest.records("run"):
        known = {known["name"]: known["sha256"] for known in run["prompts"]}
        for used in prompt_sets:
            if known.get(used["name"], used["sha256"]) != used["sha256"]:
                raise ManifestError(
                    f"{used['name']} has changed since this sweep began; choose another --out"
                )
    if header is None:
        manifest.note(
            "sweep", format=FORMAT, safegen=safegen.__version__, model=info.model,
            model_hash=info.model_hash, conditions=conditions,
        )  # fmt: skip
    manifest.note(
        "run",
        started=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        command=dict(command),
        prompts=[dict(p) for p in prompt_sets],
        backends={name: info.to_data() for name, info in infos.items()},
    )
