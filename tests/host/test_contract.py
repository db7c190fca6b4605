"""The host's contract on the double. ``tests/webui/test_contract.py`` runs it on the real host."""

from __future__ import annotations

from typing import Any

import pytest
from facts import FACTS


@pytest.mark.parametrize("name", FACTS)
def test_fact(double: Any, name: str) -> None:
    FACTS[name](double)
