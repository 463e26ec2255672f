"""What a node reports of its hardware: parsed from text, so that it is tested without the hardware."""

from __future__ import annotations


def memory_mb(meminfo: str) -> int:
    """RAM in MB (10^6 bytes) from the text of /proc/meminfo (kB there are 1024 bytes); 0 when not found."""
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) * 1024 // 1_000_000
    return 0
