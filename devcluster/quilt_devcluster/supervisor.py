"""A cluster's one process in the root namespace: keeps its programs running, forwards the API port.

Started by `up` as `python -m quilt_devcluster.supervisor FOLDER`; receives what to run over a Unix socket, a
JSON object per line: {"op": "start", "name": …, "argv": […], "log": …} and stop, signal, list, forward. It
decides nothing: what to start where is the business of `cluster.py`. Should it die, the programs go on
unsupervised and `down` still finds all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from quilt_devcluster.forward import Forwarder
from quilt_devcluster.procs import children
from quilt_log import log, log_as_json

FIRST_DELAY = 0.1
LAST_DELAY = 5.0
# A program that ran this long (seconds) before it died is started again without further delay.
STEADY = 10.0


@dataclass(slots=True)
class Program:
    """One supervised program: how to start it, and the process that runs it now (0: none)."""

    name: str
    argv: list[str]
    log: str
    wanted: bool = True
    pid: int = 0
    started: float = 0.0
    restarts: int = 0
    delay: float = FIRST_DELAY
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def inner(self) -> int:
        """Return the id of the program itself, below the nsenter that brought it into its namespaces."""
        below = children(self.pid) if self.pid else []
        return below[0] if below else self.pid


class Supervisor:
    """All programs of one cluster."""

    def __init__(self) -> None:
        """Start with nothing to supervise."""
        self.programs: dict[str, Program] = {}
        # By process id, kept apart from the names: a program that is being stopped has lost its name already.
        self._running: dict[int, Program] = {}
        self._forwarders: list[Forwarder] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def _spawn(self, program: Program) -> None:
        sink = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            actions: list[tuple[Any, ...]] = [
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, sink, 1),
                (os.POSIX_SPAWN_DUP2, sink, 2),
            ]
            program.ended.clear()
            program.pid = os.posix_spawnp(
                program.argv[0], program.argv, os.environ, file_actions=actions, setsid=True
            )
        finally:
            os.close(sink)
        self._running[program.pid] = program
        program.started = time.monotonic()
        log.info("program_started", program=program.name, pid=program.pid, restarts=program.restarts)

    def reap(self) -> None:
        """Collect every child that ended, and start again those that are still wanted."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if program := self._running.pop(pid, None):
                self._ended(program, os.waitstatus_to_exitcode(status))

    def _ended(self, program: Program, code: int) -> None:
        program.pid = 0
        program.ended.set()
        log.info("program_ended", program=program.name, exit_code=code, wanted=program.wanted)
        if not program.wanted:
            return
        ran = time.monotonic() - program.started
        program.delay = FIRST_DELAY if ran > STEADY else min(program.delay * 2, LAST_DELAY)
        task = asyncio.ensure_future(self._again(program))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _again(self, program: Program) -> None:
        await asyncio.sleep(program.delay)
        if program.wanted and not program.pid and self.programs.get(program.name) is program:
            program.restarts += 1
            self._spawn(program)

    async def handle(self, request: dict[str, Any]) -> dict[str, Any]:
        """Carry out one request and return its answer. Raises KeyError for a program that is not known."""
        match request["op"]:
            case "start":
                await self._stop(request["name"])
                program = Program(request["name"], request["argv"], request["log"])
                self.programs[program.name] = program
                self._spawn(program)
                return {"pid": program.pid}
            case "stop":
                await self._stop(request["name"])
                return {}
            case "signal":
                program = self.programs[request["name"]]
                return {"pid": self._signal(program, request["signal"])}
            case "hello":
                return {"pid": os.getpid()}
            case "list":
                return {"programs": [self._describe(program) for program in self.programs.values()]}
            case "forward":
                forwarder = Forwarder(request["netns"], request["host"], request["port"])
                self._forwarders.append(forwarder)
                return {"port": await forwarder.start(request["listen"])}
        raise KeyError(f"unknown op {request['op']!r}")

    async def _stop(self, name: str) -> None:
        program = self.programs.pop(name, None)
        if program is None:
            return
        program.wanted = False
        if program.pid:
            with contextlib.suppress(ProcessLookupError):
                self._signal(program, signal.SIGKILL)
            await program.ended.wait()

    @staticmethod
    def _signal(program: Program, number: int) -> int:
        """Send a signal to the program itself and return its process id. Raises ProcessLookupError."""
        pid = program.inner()
        if not pid:
            raise ProcessLookupError(f"{program.name} is not running")
        os.kill(pid, number)
        if number != signal.SIGSTOP:
            # nsenter stops itself when its child is stopped, and would neither go on nor notice the child's
            # end.
            os.kill(program.pid, signal.SIGCONT)
        return pid

    @staticmethod
    def _describe(program: Program) -> dict[str, Any]:
        return {
            "name": program.name,
            "pid": program.inner(),
            "restarts": program.restarts,
            "running": bool(program.pid),
            "age": time.monotonic() - program.started if program.pid else 0.0,
            "log": program.log,
        }

    async def client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection of the control socket."""
        try:
            while line := await reader.readline():
                try:
                    answer = {"ok": True, **await self.handle(json.loads(line))}
                except Exception as error:  # the answer carries it to the caller; the supervisor lives on
                    answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


async def serve(folder: Path) -> None:
    """Serve the control socket in `folder` until terminated."""
    supervisor = Supervisor()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, supervisor.reap)
    stopping = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    # Bound under another name first: the name appears when it answers, which is what `up` waits for.
    part = folder / "supervisor.part"
    part.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(supervisor.client, part, limit=1 << 20)
    part.rename(folder / "supervisor.sock")
    log.info("supervisor_ready", folder=str(folder))
    await stopping.wait()
    server.close()


if __name__ == "__main__":
    log_as_json("debug", sys.stdout)
    asyncio.run(serve(Path(sys.argv[1])))
