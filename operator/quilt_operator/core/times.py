"""Wall-clock times of the API (RFC 3339), and how much of a grace period is left."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339(moment: datetime) -> str:
    """`moment` to the second, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_time(text: str) -> datetime | None:
    """The moment, or None for anything that is not one."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def age(text: str, now: datetime) -> float:
    """Seconds since that moment; 0 for none that is readable, or one that a clock ahead of this one wrote."""
    moment = parse_time(text)
    return max(0.0, (now - moment).total_seconds()) if moment is not None else 0.0


def grace_left(released_at: str, grace: float, now: datetime) -> float:
    """Seconds until a released subnet may be reused; never more than `grace`, 0 or less when it is over.

    The bound keeps a time from a clock that ran ahead from locking a subnet away for good. A claim without a
    readable time waits a whole period: its wait begins now.
    """
    began = parse_time(released_at)
    if began is None:
        return grace
    return min(grace, grace - (now - began).total_seconds())
