"""Makes the contract suite importable: it is the same as that of the kernel in memory."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

HERE = str(Path(__file__).parents[2] / "unit" / "netlink")
if HERE not in sys.path:
    sys.path.insert(0, HERE)
pytest.register_assert_rewrite("netlink_contract", "netlink_contract_links", "netlink_parts")
