"""Which checkpoints, LoRAs and embeddings a policy allows, and which a picture uses.

No detector can read what is in such a file, and a harmless name may stand for anything.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from safegen import files
from safegen.errors import InvalidValue
from safegen.sentence import told

KINDS = {"checkpoints": "checkpoint", "loras": "LoRA", "embeddings": "embedding"}
"""What may be listed, and how one is called."""
_HASH = re.compile(r"sha256:([0-9a-f]{10,64})")


@dataclass(frozen=True)
class Used:
    """A file that a picture is made with.

    Args:
        kind: A key of `KINDS`.
        names: What it goes by; the first is for messages.
        file: Where it is; ``None`` if that is not known, and then no hash fits.
    """

    kind: str
    names: tuple[str, ...]
    file: Path | None = None

    def is_named_by(self, entry: str) -> bool:
        """Whether ``entry`` of a list is this file's name, or ``sha256:`` and its hash's begin."""
        found = _HASH.fullmatch(entry.strip().lower())
        if found is None:
            return entry.strip().casefold() in {name.casefold() for name in self.names}
        return self.file is not None and sha256(self.file).startswith(found[1])


def sha256(file: Path) -> str:
    """The hash of a file, computed again when the file has changed."""
    known = file.stat()
    return _sha256(file, known.st_size, known.st_mtime_ns)


@lru_cache(maxsize=1024)
def _sha256(file: Path, _size: int, _changed: int) -> str:
    return files.sha256(file)


def allowed_from(data: Any) -> Mapping[str, tuple[str, ...]]:
    """The lists of a policy file, such as ``{"loras": [], "checkpoints": ["sha256:…"]}``.

    Raises:
        InvalidValue: It is no such table.
    """
    if not isinstance(data, dict):
        raise InvalidValue("policy allowed", data, f"a table with lists: {', '.join(KINDS)}")
    for kind, names in data.items():
        if kind not in KINDS:
            raise InvalidValue("policy allowed", kind, ", ".join(KINDS))
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise InvalidValue(f"policy allowed {kind}", names, "a list of names or sha256:HASH")
        for name in names:
            if name.lower().startswith("sha256:") and not _HASH.fullmatch(name.strip().lower()):
                raise InvalidValue(
                    f"policy allowed {kind}", name, "sha256: and 10 to 64 hexadecimal digits"
                )
    return {kind: tuple(names) for kind, names in data.items()}


def check(used: Iterator[Used], lists: tuple[Mapping[str, tuple[str, ...]], ...]) -> None:
    """Raise `InvalidValue` for the first file that one of ``lists`` doesn't name."""
    for one in used:
        for allowed in lists:
            names = allowed.get(one.kind)
            if names is not None and not any(one.is_named_by(name) for name in names):
                raise InvalidValue(
                    KINDS[one.kind],
                    one.names[0],
                    ", ".join(names) or told("none, by the policy here"),
                )


# ---------------------------------------------------------------------- what a picture uses


def used_by(host: Any, p: Any, kinds: Collection[str]) -> Iterator[Used]:
    """Every checkpoint, LoRA (or other extra network) and embedding of ``p``'s batch.

    Args:
        host: `safegen.webui.host`.
        kinds: Which of `KINDS` are asked for.
    """
    if "checkpoints" in kinds:
        yield from _checkpoints(host, p)
    if "loras" in kinds:
        yield from _networks(p)
    if "embeddings" in kinds:
        yield from _embeddings(host, p)


def _checkpoints(host: Any, p: Any) -> Iterator[Used]:
    others = (getattr(p, name, None) for name in ("refiner_checkpoint_info", "hr_checkpoint_info"))
    for info in (host.checkpoint(), *others):
        if info is None:
            continue
        file = getattr(info, "filename", None)
        names = [getattr(info, name, None) for name in ("name_for_extra", "name", "model_name")]
        known = tuple(dict.fromkeys(str(name) for name in names if name))
        yield Used("checkpoints", known or (str(info),), None if file is None else Path(file))


def _networks(p: Any) -> Iterator[Used]:
    """What the prompt asks for, and what is loaded whoever asked for it."""
    module: Any = sys.modules.get("networks")
    on_disk = {
        **getattr(module, "available_networks", {}),
        **getattr(module, "available_network_aliases", {}),
    }
    for table in ("extra_network_data", "hr_extra_network_data"):
        for params in (getattr(p, table, None) or {}).values():
            for one in params:
                name = str(one.items[0]) if one.items else ""
                yield _network(name, on_disk.get(name))
    for network in getattr(module, "loaded_networks", ()):
        yield _network(str(network.name), network.network_on_disk)


def _network(name: str, on_disk: Any) -> Used:
    file = getattr(on_disk, "filename", None)
    # An alias comes from the file itself, and may be anybody's name.
    own = name if on_disk is None else str(on_disk.name)
    return Used("loras", (own,), None if file is None else Path(file))


def _embeddings(host: Any, p: Any) -> Iterator[Used]:
    """What the host's own tokenizers find in the texts that it encodes."""
    tokenizers = _tokenizers(host.shared.sd_model)
    seen: dict[str, Used] = {}
    if not tokenizers:
        yield Used("embeddings", ("(which the prompts use can't be read on this host)",))
    for text in _texts(host.prompt_parser, p):
        for tokenizer in tokenizers:
            chunks, _ = tokenizer.tokenize_line(text)
            for fix in (fix for chunk in chunks for fix in chunk.fixes):
                file = getattr(fix.embedding, "filename", None)
                name = str(fix.embedding.name)
                seen[name] = Used("embeddings", (name,), None if file is None else Path(file))
    yield from seen.values()


def _tokenizers(model: Any) -> list[Any]:
    """Parts of the text encoder, or, on Forge, engines beside it."""
    encoder = getattr(model, "cond_stage_model", None)
    parts: Any = vars(model).values() if encoder is None else encoder.modules()
    return [one for one in parts if hasattr(one, "tokenize_line")]


def _texts(parser: Any, p: Any) -> set[str]:
    """Every text that the host encodes for ``p``'s batch, of every part and every step."""
    prompts = [*p.prompts, *(getattr(p, "hr_prompts", None) or [])]
    _, parts, _ = parser.get_multicond_prompt_list(prompts)
    texts = {*parts, *p.negative_prompts, *(getattr(p, "hr_negative_prompts", None) or [])}
    # Generous: samplers of second order count twice the steps.
    first = [p.steps, 2 * p.steps]
    second = getattr(p, "hr_second_pass_steps", 0) or p.steps
    timings = [(base, later) for base in first for later in (None, second, 2 * second)]
    found: set[str] = set()
    for base, later in timings:
        for old in (False, True):
            schedules = parser.get_learned_conditioning_prompt_schedules(
                list(texts), base, later, old
            )
            found.update(text for schedule in schedules for _, text in schedule)
    # The setting for emphasis may be another by now than it is when they are encoded.
    return found.union(*({piece for piece, _ in parser.parse_prompt_attention(t)} for t in found))
