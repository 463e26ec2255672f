"""A node to measure: a network namespace of its own with the real runtime and the real agent as processes."""

from __future__ import annotations

import ctypes
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

from bench.peers import DEVICE, OWN_NODE
from quilt_netlink import Create, Delete, Kernel, Link, Put, Vxlan

TIMEOUT = 60.0


T = TypeVar("T")


def until(condition: Callable[[], object], what: str) -> None:
    """Wait for what tells of itself only when asked; raises BenchError after a minute."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"not within {TIMEOUT:.0f} s: {what}")
        time.sleep(0.05)


def in_namespace(path: str, make: Callable[[], T]) -> T:
    """Do something in a network namespace, in a thread of its own: sockets made there stay there."""

    def enter() -> T:
        with Path(path).open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), 0):
                raise OSError(ctypes.get_errno(), f"cannot enter {path}")
        return make()

    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(enter).result()


class BenchError(Exception):
    """A measurement cannot be made; the text says why."""


class Process:
    """A program of the node; a thread reads what it logs as it comes, so that it never waits for us."""

    def __init__(self, popen: subprocess.Popen[bytes], started: float, log: Path) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.started = started
        self._log = log
        self._events: queue.SimpleQueue[tuple[float, dict[str, Any]] | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def wait_event(self, name: str, timeout: float = TIMEOUT) -> tuple[float, dict[str, Any]]:
        """Return the next event of a name: when it was received (perf_counter), and its fields."""
        deadline = time.monotonic() + timeout
        with suppress(queue.Empty):
            while received := self._events.get(timeout=max(0.0, deadline - time.monotonic())):
                if received[1].get("event") == name:
                    return received
        code = self.popen.poll()
        raise BenchError(f"no {name} within {timeout} s (exit code {code}):\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        self.popen.terminate()
        try:
            self.popen.wait(timeout=15)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()

    def _read(self) -> None:
        assert self.popen.stdout is not None
        with self._log.open("wb", buffering=0) as log:
            for line in self.popen.stdout:
                now = time.perf_counter()
                log.write(line)
                if line.startswith(b"{"):
                    self._events.put((now, json.loads(line)))
        self._events.put(None)


class Node:
    """A namespace with loopback up; `join` connects it to a control plane. Leaves nothing behind.

    `of` is the name of the node that its agent speaks for; `program` is what runs a package of the product.
    """

    program: ClassVar[Sequence[str]] = (sys.executable, "-m")

    def __init__(self, of: str = OWN_NODE) -> None:
        self._stack = ExitStack()
        self.of = of
        self.name = f"quilt-bench-{os.getpid()}" + ("" if of == OWN_NODE else f"-{of}")
        # In memory, as a node's /run, where the runtime has its sockets and state.
        folder = tempfile.TemporaryDirectory(prefix="quilt-bench-", dir="/dev/shm")
        self.folder = Path(self._stack.enter_context(folder))
        subprocess.run(["ip", "netns", "add", self.name], check=True)
        self._stack.callback(subprocess.run, ["ip", "netns", "del", self.name], check=False)
        self.kernel = self._stack.enter_context(Kernel.open(self.netns))
        self.kernel.run(Put(Link("lo", up=True)))
        self.runtime: Process | None = None
        self.agent: Process | None = None

    @property
    def netns(self) -> str:
        return f"/run/netns/{self.name}"

    @property
    def pids(self) -> dict[str, int]:
        """Process ids of what runs here, by name."""
        running = {"agent": self.agent, "runtime": self.runtime}
        return {name: process.pid for name, process in running.items() if process}

    @property
    def socket(self) -> Path:
        return self.folder / "run" / "runtime.sock"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop_agent()
        self.stop_runtime()
        self._stack.close()

    def inside(self, *command: str | Path) -> list[str]:
        """Command line that runs a program in the node's network."""
        return ["nsenter", f"--net={self.netns}", "--", *map(str, command)]

    def run(self, *command: str | Path) -> None:
        subprocess.run(self.inside(*command), check=True, stdout=subprocess.DEVNULL)

    def ask(self, *command: str | Path) -> str:
        """Return what a program in the node's network prints, whether it succeeds or not."""
        command_line = self.inside(*command)
        return subprocess.run(command_line, capture_output=True, text=True, check=False).stdout

    def fresh_device(self) -> int:
        """Make the VXLAN device again, empty, as the agent makes it; return its index."""
        if self.kernel.link(DEVICE):
            self.kernel.run(Delete(Link(DEVICE)))
        vxlan = Vxlan(100, 4789, "127.0.0.1")
        self.kernel.run(Create(Link(DEVICE, kind="vxlan", up=True, addrgenmode=1, vxlan=vxlan)))
        return self.device_index

    @property
    def device_index(self) -> int:
        """Index of the mesh's device, which is there."""
        link = self.kernel.link(DEVICE)
        assert link is not None
        return link.index

    def start_runtime(self, *arguments: str) -> Process:
        """Start the runtime; it serves when this returns."""
        options = [f"--socket-dir={self.socket.parent}", *arguments]
        self.runtime = self._start("runtime", [*self.program, "quilt_runtime", *options])
        self.runtime.wait_event("started")
        return self.runtime

    def stop_runtime(self) -> None:
        if self.runtime is not None:
            self.runtime.stop()
            self.runtime = None

    def start_agent(self, credentials: Path, host: str, port: int) -> Process:
        """Start the agent as in its pod: the service account's files (token, ca.crt) where a pod has them."""
        paths = {"cni-src-dir": "src", "cni-bin-dir": "bin", "cni-conf-dir": "conf"}
        for folder in paths.values():
            (self.folder / folder).mkdir(exist_ok=True)
        for name in ("quilt-cni", "loopback", "portmap", "bandwidth"):
            (self.folder / "src" / name).write_text("")
        flags = [f"--{flag}={self.folder / folder}" for flag, folder in paths.items()]
        flags += [f"--node-name={self.of}", f"--runtime-addr=unix://{self.socket}"]
        flags += ["--proc-sys-net=/proc/sys/net"]
        mount = (
            "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io/serviceaccount && "
            f'cp {credentials}/* /run/secrets/kubernetes.io/serviceaccount && exec "$@"'
        )
        command = ["unshare", "--mount", "--propagation=private", "sh", "-c", mount, "-"]
        command += [*self.program, "quilt_nodeagent", *flags]
        environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
        self.agent = self._start("agent", command, environment)
        return self.agent

    def start_agent_program(self, command: Sequence[str]) -> Process:
        """Start another mesh's agent: into a file with what it says."""
        shell = ["sh", "-c", f'exec "$@" >{self.folder / "log"} 2>&1', "-"]
        self.agent = self._start("agent", [*shell, *command])
        return self.agent

    def stop_agent(self) -> None:
        if self.agent is not None:
            self.agent.stop()
            self.agent = None

    def start(self, name: str, *command: str) -> Process:
        """Start another program beside these two; the caller stops it."""
        return self._start(name, command)

    def _start(self, name: str, command: Sequence[str], environment: dict[str, str] | None = None) -> Process:
        # nsenter and sh become the program by exec, so that the process id is the program's own.
        started = time.perf_counter()
        popen = subprocess.Popen(
            self.inside(*command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
        )
        return Process(popen, started, self.folder / f"{name}.log")
