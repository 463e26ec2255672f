"""What a node has to tell people: what happened, and what of it one Event tells together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """What one Event is about: `reason` is for programs, `head` for people, before what happened.

    `about` is the name under which all nodes that see the same outage file it; empty: each node has its own.
    """

    reason: str
    head: str
    about: str = ""
    warning: bool = True


@dataclass(frozen=True, slots=True)
class News:
    """Something that happened: `text` is for people, by `kind` (else the text) it is recognized again."""

    topic: Topic
    text: str
    kind: str = ""
