"""What SafeGen brings with it as safetensors: opened in one way, refused in one way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safegen.errors import SafeGenError


@contextmanager
def opened(
    file: Path, form: str, refusal: type[SafeGenError]
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The tensors of a file of format ``form``, by ``get_tensor``, and its header.

    Raises:
        SafeGenError: A ``refusal``: the file is missing, damaged or of another format.
    """
    try:
        from safetensors import safe_open

        with safe_open(file, framework="numpy") as tensors:
            header = json.loads((tensors.metadata() or {}).get("safegen", "{}"))
            if header.get("format") != form:
                raise refusal(f"{file.name}: not of the format {form}")
            yield tensors, header
    except refusal:
        raise
    except Exception as error:  # safetensors has an exception type of its own
        raise refusal(f"{file.name}: cannot be read: {error}") from error
