"""A flood of datagrams that nobody answers, and how many of them arrived."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.namespaces import Namespace

INTO_POD, OUT_OF_POD = 8080, 8081
# Paced, to several addresses, whether they exist or not.
_FLOOD = """
import itertools, socket, sys, time
flood = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
print("ready", flush=True)
for address in itertools.cycle(sys.argv[2:]):
    try:
        flood.sendto(b"<flood>", (address, int(sys.argv[1])))
    except OSError:
        pass
    time.sleep(0.001)
"""
_COUNT = f"""table inet count {{
  chain in {{ type filter hook input priority -300; udp dport {{ {INTO_POD}, {OUT_OF_POD} }} counter; }}
}}"""


@contextmanager
def flooding(sender: Namespace, port: int, *addresses: str) -> Iterator[None]:
    """Send to a port of some addresses all the time."""
    command = ["ip", "netns", "exec", sender.name, sys.executable, "-c", _FLOOD, str(port), *addresses]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield
        finally:
            process.kill()


def count(receiver: Namespace) -> None:
    """Begin to count in a namespace."""
    receiver.run("nft", "-f", "-", stdin=_COUNT)


def arrived(receiver: Namespace) -> int:
    """Return how many datagrams came to either port."""
    listed = receiver.run("nft", "list", "table", "inet", "count")
    return int(listed.partition("counter packets ")[2].split()[0])
