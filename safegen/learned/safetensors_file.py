"""Safetensors files with a header of ours: what embeddings and probes are kept in.

The header is one JSON table under one key of the file's metadata; it has a ``version``. Nothing
is ever unpickled, and a file is believed only after its tables were found to fit the header.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from safegen.errors import SafeGenError


class SafetensorsFileError(SafeGenError):
    """A file that cannot be used; the text begins with its name."""


def to_bytes(key: str, header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """A file's content: ``tensors``, and ``header`` as JSON under ``key``."""
    from safetensors.torch import save

    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    data: bytes = save(contiguous, {key: json.dumps(dict(header), sort_keys=True)})
    return data


def read(file: Path, key: str, *, newest: int, kind: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The header under ``key`` and the tensors, in the dtype they were saved in, on the CPU.

    Args:
        newest: The greatest version that this program knows.
        kind: What such a file is, for messages: ``learned embedding``.

    Raises:
        SafetensorsFileError: It cannot be read, is none, or is of a newer version.
    """
    from safetensors import safe_open

    try:
        with safe_open(file, framework="pt") as opened:
            header = json.loads((opened.metadata() or {}).get(key, "null"))
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except Exception as error:  # safetensors has an exception type of its own
        raise SafetensorsFileError(f"{file.name}: cannot be read: {error}") from error
    version = header.get("version") if isinstance(header, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise SafetensorsFileError(f"{file.name}: not a {kind} of SafeGen's")
    if version > newest:
        raise SafetensorsFileError(
            f"{file.name}: made by a newer version ({version}); update the extension"
        )
    return header, tensors


def check(file: Path, tensors: Mapping[str, Tensor], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise `SafetensorsFileError` unless ``tensors`` are those of ``shapes``, and finite."""
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if found != dict(shapes):
        raise SafetensorsFileError(f"{file.name}: holds {found} where {dict(shapes)} is due")
    if not all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values()):
        raise SafetensorsFileError(f"{file.name}: holds values that are not finite")


@contextmanager
def reading(file: Path, kind: type[SafeGenError]) -> Iterator[None]:
    """Whatever goes wrong with ``file`` in the block is a ``kind``, a damaged header too."""
    try:
        yield
    except kind:
        raise
    except SafetensorsFileError as error:
        raise kind(str(error)) from error
    except (KeyError, TypeError, ValueError) as error:
        raise kind(f"{file.name}: a damaged header: {error!r}") from error
