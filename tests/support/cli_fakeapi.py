"""A cluster's API as far as a test says what it answers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class FakeApi:
    """An HTTP server that answers what a test puts in: {path: (status, JSON or text)}."""

    url: str
    answers: dict[str, tuple[int, Any]] = field(default_factory=dict)
    selected: dict[str, tuple[int, Any]] = field(default_factory=dict)
    """Answers to what selects by labels, where they are others."""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def kubeconfig(self, folder: Path) -> Path:
        path = folder / "kubeconfig"
        named = {"clusters": [{"name": "c", "cluster": {"server": self.url}}]}
        named |= {"users": [{"name": "u", "user": {"token": "secret"}}]}
        named |= {"contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}
        path.write_text(json.dumps(named | {"current-context": "x"}))
        return path
