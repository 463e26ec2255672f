"""Makes the doubles of the unit tests importable: API server and runtime; the kernel here is the real one."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parents[2] / "unit" / "nodeagent")
if HERE not in sys.path:
    sys.path.insert(0, HERE)
pytest.register_assert_rewrite("agent_doubles", "agent_behaviour")
