"""A way to a test's API server on which watches can fall silent, and an operator that uses it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.control_plane.plane import Operator, Plane
from bench.control_plane.proxy import Faults, Proxy
from tests.support.controlplane import ControlPlane


class Way:
    """A proxy in a thread of its own, without faults until given some."""

    def __init__(self, plane: Plane) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._proxy = Proxy(plane.wire(32), Faults(), 1, lambda: None)
        self._proxy.calm = True
        self.url = asyncio.run_coroutine_threadsafe(self._proxy.start(), self._loop).result(10)

    def mute(self) -> int:
        """Let every watch that is open say nothing any more; how many there are."""
        return self._proxy.mute()

    def away(self) -> None:
        """Cut every watch so that none can be resumed, and answer nobody until `back`."""

        async def go() -> None:
            self._proxy.away = True
            self._proxy.cut()

        asyncio.run_coroutine_threadsafe(go(), self._loop).result(10)

    def back(self) -> None:
        """Answer again."""
        self._proxy.away = False

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._proxy.stop(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@contextmanager
def operator_on_its_way(plane: ControlPlane, folder: Path, *arguments: str) -> Iterator[tuple[Operator, Way]]:
    """An operator that leads, as the administrator, with a Lease in the namespace default."""
    made = Plane(plane.cluster, folder)
    way = Way(made)
    kubeconfig = made.through("way", way.url)
    operator = Operator(made, "way", "--namespace=default", *arguments, kubeconfig=kubeconfig)
    try:
        operator.wait()
        yield operator, way
    except BaseException:
        print(operator.log.read_text())
        raise
    finally:
        operator.kill()
        way.close()
