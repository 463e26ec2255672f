"""Makes the contract suite importable, for here and for the real kernel's tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parent)
if HERE not in sys.path:
    sys.path.insert(0, HERE)
pytest.register_assert_rewrite("netlink_contract", "netlink_contract_links", "netlink_parts")
