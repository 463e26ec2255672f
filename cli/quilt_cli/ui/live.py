"""Keeping the board current: a cluster is followed, and judged again at most once a second."""

from __future__ import annotations

from threading import Condition, Event, Thread

from quilt_cli.api.following import Cluster
from quilt_cli.core.board import Board, Changes
from quilt_cli.core.event import newest
from quilt_cli.core.snapshot import Snapshot
from quilt_cli.core.status import report
from quilt_kube.sync import Client

# Seconds between two judgements: of 5,000 nodes one is a fifth of a second's work.
_PAUSE = 1.0


class Live:
    """A followed cluster and the board that shows it; any number of threads may wait for `changes`."""

    def __init__(self, client: Client) -> None:
        self._news = Event()
        self._ended = Event()
        self._shown = Condition()
        self._board = Board(client.access.context)
        self._cluster = Cluster(client, self._news.set)

    def start(self) -> None:
        """Begin to follow."""
        self._cluster.start()
        Thread(target=self._run, name="judge", daemon=True).start()

    def close(self) -> None:
        """Follow no longer, and let nobody wait."""
        self._cluster.close()
        self._ended.set()
        self._news.set()

    def changes(self, since: int, seconds: float) -> Changes | None:
        """Wait for what is newer than a version; None where nothing comes within these seconds."""
        with self._shown:
            self._shown.wait_for(lambda: self._board.version != since, seconds)
            return self._board.since(since) if self._board.version != since else None

    def snapshot(self) -> Snapshot:
        """Return what is known now."""
        return self._cluster.snapshot()

    def _run(self) -> None:
        while not self._ended.is_set():
            self._news.wait()
            self._news.clear()
            # Before all kinds are read once, what has not come yet would be reported as absent.
            if self._cluster.answered:
                self._judge()
                self._ended.wait(_PAUSE)

    def _judge(self) -> None:
        snapshot = self._cluster.snapshot()
        found = report(snapshot)
        events = newest(self._cluster.events.objects)
        with self._shown:
            if self._board.show(found, snapshot, events, self._cluster.silent()):
                self._shown.notify_all()
