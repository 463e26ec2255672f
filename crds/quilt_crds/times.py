"""Wall-clock times as the API has them (RFC 3339)."""

from __future__ import annotations

from datetime import UTC, datetime


def rfc3339_micro(moment: datetime) -> str:
    """`moment` to the microsecond: Kubernetes' MicroTime."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
