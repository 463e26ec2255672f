"""What a pass is to make of the device, once that can be told."""

from __future__ import annotations

from dataclasses import dataclass

from quilt_nodeagent.core.device import Device


class NotYetError(Exception):
    """Something that the dataplane rests on is not known yet; the text says what is waited for."""


@dataclass(frozen=True, slots=True)
class Target:
    """The wanted device and its addresses (`10.42.1.0/32`); None leaves the addresses as they are."""

    device: Device
    addresses: frozenset[str] | None
