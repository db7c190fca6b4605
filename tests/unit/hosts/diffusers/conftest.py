"""These tests need diffusers."""

from __future__ import annotations

import pytest

pytest.importorskip("diffusers", reason="pip install '.[demo]'")
