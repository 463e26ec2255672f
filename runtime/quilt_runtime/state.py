"""The runtime's memory on disk: SQLite on tmpfs, written before anything is answered.

It has to outlive the process (`kill -9` at any instruction) but not the machine: pods do not survive a
reboot, and addresses recorded for dead ones would stand in the way of the node's next subnet. So nothing is
ever synced to a disk. A database that is corrupt or not the runtime's is kept aside for people and a new one
is begun; the caller fills it from the kernel. One that cannot be opened for another reason (no space, no
descriptors) is as good as ever: the start fails, and is tried again, rather than forget who has which
address.

A later release may add columns and keys, which this one leaves alone; only what it could not serve at all
gets another SCHEMA_VERSION.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from quilt_log import log
from quilt_policy.program import PodName
from quilt_runtime.core.ipam import Allocation, Owner

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE allocations (
  container_id TEXT NOT NULL, interface TEXT NOT NULL, address INTEGER NOT NULL UNIQUE, network TEXT NOT NULL,
  PRIMARY KEY (container_id, interface)
) WITHOUT ROWID;
"""
FILE = "state.db"
Statement = tuple[str, tuple[Any, ...]]
_PUT_META = "INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)"


PODS = """
CREATE TABLE IF NOT EXISTS pods (
  container_id TEXT NOT NULL, interface TEXT NOT NULL,
  namespace TEXT NOT NULL, name TEXT NOT NULL, uid TEXT NOT NULL,
  PRIMARY KEY (container_id, interface)
) WITHOUT ROWID
"""
"""Beside the allocations: into those a release before it writes four values, whatever columns exist."""
# By name, as a later release may have added some.
_SELECT = "SELECT container_id, interface, address, network FROM allocations"
_SELECT_ALL = """
SELECT container_id, interface, address, network, namespace, name, uid
FROM allocations LEFT JOIN pods USING (container_id, interface)
"""
_INSERT = "INSERT INTO allocations (container_id, interface, address, network) VALUES (?, ?, ?, ?)"
_INSERT_POD = (
    "INSERT OR REPLACE INTO pods (container_id, interface, namespace, name, uid) VALUES (?, ?, ?, ?, ?)"
)
# Of allocations that a release before this table deleted.
_FORGET_PODS = """
DELETE FROM pods WHERE (container_id, interface) NOT IN (SELECT container_id, interface FROM allocations)
"""
_NOT_A_DATABASE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class StateError(OSError):
    """The state cannot be opened or written, e.g. on a full file system; nothing was changed."""


class _ForeignError(sqlite3.DatabaseError):
    """A database that is not the runtime's."""


class Store:
    """One open database; every write is committed when its method returns. Usable from any thread."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / FILE
        self._lock = threading.Lock()
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._connection = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_lost(error):
                raise StateError(
                    f"cannot open {self.path}: {error}; free space there, it is intact"
                ) from error
            self._set_aside(error)
            self._connection = self._open()

    def close(self) -> None:
        """Close the database; it can be opened again."""
        with self._lock:
            self._connection.close()

    def meta(self, key: str) -> Any:
        """Return the value stored under a key, None without one."""
        with self._lock:
            row = self._connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return json.loads(row[0]) if row else None

    def put_meta(self, **values: Any) -> None:
        """Store JSON values under keys, all or none; raises StateError."""
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        self._write([(_PUT_META, row) for row in rows])

    def allocations(self) -> list[Allocation]:
        """Return all allocations."""
        with self._lock:
            return [_allocation(*row) for row in self._connection.execute(_SELECT_ALL)]

    def insert(self, allocation: Allocation, forget: Iterable[Owner] = ()) -> None:
        """Record an allocation, that the next search begins behind it, and that others have none any more.

        Raises StateError.
        """
        owner, address = allocation.owner, int(allocation.address)
        pod, key = allocation.pod, (owner.container_id, owner.interface)
        self._write(
            [
                *_deletions(forget),
                (_INSERT, (*key, address, allocation.network)),
                *([(_INSERT_POD, (*key, pod.namespace, pod.name, pod.uid))] if pod else ()),
                (_PUT_META, ("cursor", str(address))),
            ]
        )

    def delete(self, owners: Iterable[Owner]) -> None:
        """Forget what these owners had; raises StateError."""
        self._write(_deletions(owners))

    def _write(self, statements: Iterable[Statement]) -> None:
        with self._lock:
            try:
                with self._connection:
                    self._connection.execute("BEGIN IMMEDIATE")
                    for statement, values in statements:
                        self._connection.execute(statement, values)
            except sqlite3.Error as error:
                raise StateError(
                    f"cannot write {self.path}: {error}; free space there or look at the log"
                ) from error

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = OFF")
            (check,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if check != "ok":
                raise _ForeignError(check)
            self._prepare(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version == 0 and not connection.execute("SELECT 1 FROM sqlite_master").fetchone():
            connection.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;")
        elif version != SCHEMA_VERSION:
            raise _ForeignError(f"has schema version {version}, this program reads {SCHEMA_VERSION}")
        try:
            connection.execute(f"{_SELECT} LIMIT 0")
            connection.execute("SELECT key, value FROM meta LIMIT 0")
        except sqlite3.OperationalError as error:
            raise _ForeignError(str(error)) from error
        connection.execute(PODS)
        connection.execute(_FORGET_PODS)

    def _set_aside(self, error: Exception) -> None:
        kept = self.path.with_name(f"{FILE}.unreadable-{int(time.time())}")
        log.error("state_unreadable", path=str(self.path), reason=str(error), kept_as=str(kept))
        for suffix in ("-wal", "-shm"):
            self.path.with_name(FILE + suffix).unlink(missing_ok=True)
        if self.path.exists():
            self.path.rename(kept)


def _is_lost(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault, so that nothing can be had from it."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK)
    return isinstance(error, _ForeignError) or code & 0xFF in _NOT_A_DATABASE


def _allocation(
    container_id: str, interface: str, address: int, network: str, *pod: str | None
) -> Allocation:
    named = PodName(*map(str, pod)) if all(pod[:2]) else None
    return Allocation(Owner(container_id, interface), IPv4Address(address), network, named)


def _deletions(owners: Iterable[Owner]) -> Iterator[Statement]:
    for owner in owners:
        for table in ("allocations", "pods"):
            statement = f"DELETE FROM {table} WHERE container_id = ? AND interface = ?"  # noqa: S608
            yield statement, (owner.container_id, owner.interface)
