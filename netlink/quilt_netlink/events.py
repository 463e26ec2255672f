"""What the monitor tells."""

from __future__ import annotations

from dataclasses import dataclass

from quilt_netlink.state import Observed, Watched


@dataclass(frozen=True, slots=True)
class Change:
    """An entry as the kernel has it now (`new`), or as it was when it went."""

    new: bool
    entry: Observed | Watched


@dataclass(frozen=True, slots=True)
class Overrun:
    """Events were lost: read the state again. Everything notified before this may be stale."""


Event = Change | Overrun
