"""An API server as a process that may be killed at any instant: `python -m tests.support.kept_api FILE PORT`.

What was written stays in the file. So does the order: after a restart a watch continues from the version that
it had. Each line of standard input is a change that somebody else makes, answered by a line once it is kept:
`["put", COLLECTION, OBJECT]`, `["delete", COLLECTION, NAME]`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.agent_api import FakeApi, Json


class KeptApi(FakeApi):
    """The double of the API server, with a journal of all that was written."""

    def __init__(self, file: Path, kinds: Sequence[str]) -> None:
        super().__init__()
        self.kinds |= set(kinds)
        self._journal = file.open("a+")
        self._journal.seek(0)
        for line in self._journal.readlines():
            if line.endswith("\n"):  # else it was killed while it wrote
                self._apply(*json.loads(line))

    def put(self, collection: str, item: Json) -> Json:
        """Create or replace an object; it is kept before anybody hears of it."""
        self._keep("put", collection, item)
        return super().put(collection, item)

    def delete(self, collection: str, name: str) -> None:
        """Delete an object, if it is there."""
        if name in self.objects.get(collection, {}):
            self._keep("delete", collection, name)
            super().delete(collection, name)

    def change(self, line: str) -> None:
        """Make the change that a line says."""
        verb, collection, what = json.loads(line)
        (self.put if verb == "put" else self.delete)(collection, what)

    def _apply(self, verb: str, collection: str, what: Any) -> None:
        (super().put if verb == "put" else super().delete)(collection, what)

    def _keep(self, *entry: Any) -> None:
        self._journal.write(json.dumps(entry) + "\n")
        self._journal.flush()


async def serve(file: Path, port: int, kinds: Sequence[str]) -> None:
    """Serve until the standard input ends."""
    api = KeptApi(file, kinds)
    async with api.serve(port):
        print("serving", flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            api.change(line)
            print("kept", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]))
