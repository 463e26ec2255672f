"""Secrets taken out of what leaves a cluster: by names of fields, and by what secrets look like in texts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MASK = "<left out>"

_WORDS = "token|passwd|password|passphrase|secret|credential|api[_-]?key|private[_-]?key|key-data"
_FIELD = re.compile(rf"(?i)[\w.-]*(?:{_WORDS})s?|auth|authorization|bearer")
_PEM = "PRIVATE KEY-----"
# RFC 7468
_KEY = re.compile(rf"(?s)(?P<kept>-----BEGIN [A-Z ]*{_PEM}).*?(?=-----END [A-Z ]*PRIVATE KEY|\Z)")
_LINES = (
    # A JSON web token (RFC 7519), as service accounts have, wherever it is.
    re.compile(r"(?P<kept>)\beyJ[\w-]+\.[\w-]+\.?[\w-]*"),
    # RFC 6750, RFC 7617
    re.compile(r"(?i)(?P<kept>\bbearer[ :=]+)(?!<left)[\w.~+/=-]{8,}"),
    re.compile(r"(?i)(?P<kept>\bauthorization\W{1,6}basic +)[\w+/=-]+"),
    # RFC 3986, 3.2.1
    re.compile(r"(?P<kept>://[^\s/:@]*:)[^\s/@]+(?=@)"),
    # name=value, "name": "value", and the latter within another JSON text.
    re.compile(rf"(?i)(?P<kept>(?:{_WORDS})s?\\?[\"']?\s*[:=]\s*\\?[\"']?)(?!<left)[^\s\"'\\,;&}}]+"),
)
# What a line has, in small letters, in which one of these may find something: most have nothing of it.
_HINTS = (
    *("eyj", "bearer", "basic", "://", "token", "passw", "passphrase", "secret", "credential", "key-data"),
    *(f"{what}{joint}key" for what in ("api", "private") for joint in ("", "-", "_")),
)


def text(found: str) -> str:
    """A text without tokens, passwords and private keys."""
    if _PEM in found:
        found = _KEY.sub(rf"\g<kept>{MASK}", found)
    return "\n".join(map(_line, found.split("\n")))


def _line(found: str) -> str:
    small = found.lower()
    if any(hint in small for hint in _HINTS):
        for pattern in _LINES:
            found = pattern.sub(rf"\g<kept>{MASK}", found)
    return found


def document(found: Any) -> Any:
    """A JSON document without the values of fields that are named like secrets; its texts as `text` does."""
    if isinstance(found, Mapping):
        return {
            name: MASK if isinstance(value, str) and _FIELD.fullmatch(name) else document(value)
            for name, value in found.items()
        }
    if isinstance(found, list | tuple):
        return [document(value) for value in found]
    return text(found) if isinstance(found, str) else found
