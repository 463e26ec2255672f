"""Makes the agent's test doubles importable, for here and for the tests on the real kernel."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
pytest.register_assert_rewrite("agent_doubles", "agent_behaviour", "agent_route_behaviour")
