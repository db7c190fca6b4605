"""The lab's tests need what `demo` installs."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers", reason="pip install '.[demo]'")
