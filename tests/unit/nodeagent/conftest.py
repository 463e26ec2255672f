"""Makes the agent's test doubles importable, for here and for the tests on the real kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
for module in ("doubles", "scene", "behaviour", "drift_behaviour", "route_behaviour"):
    pytest.register_assert_rewrite(f"agent_{module}")
