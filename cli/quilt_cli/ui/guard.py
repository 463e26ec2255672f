"""Who is let in: a browser that was given the token, asked for a name of this machine, by our own pages.

Any program of this machine can connect to a port of the loopback, and any page of the web can have a browser
do so. A page of elsewhere is kept out by the cookie (SameSite=Strict), by the Host header (its name may lead
to 127.0.0.1: DNS rebinding), and by Sec-Fetch-Site (a page of another port is the same site).
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.cookies import CookieError, SimpleCookie
from typing import Final
from urllib.parse import parse_qs, urlsplit

HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every answer carries: nothing but what this server sends is loaded, run or kept."""
# A port may be another one, as forwarded by ssh.
_OWN_NAMES = {"127.0.0.1", "localhost"}
# `none`: a person typed the address, or opened it from another program.
_OWN_PAGES = {"", "none", "same-origin"}


@dataclass(frozen=True, slots=True)
class Guard:
    """The token, and the name of the cookie that carries it: cookies of all ports are kept together."""

    cookie: str
    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    def admits(self, target: str, headers: Message[str, str]) -> bool:
        """Whether a request is answered, by its target and headers."""
        if _host(headers.get("Host", "")) not in _OWN_NAMES:
            return False
        if self.introduced(target):
            return True
        return headers.get("Sec-Fetch-Site", "") in _OWN_PAGES and self._holds(headers.get("Cookie", ""))

    def introduced(self, target: str) -> bool:
        """Whether this is a first visit: the page itself, with the token in its address."""
        parts = urlsplit(target)
        return parts.path == "/" and self._is_token(parse_qs(parts.query).get("token", [""])[0])

    def set_cookie(self) -> str:
        """The value of the Set-Cookie header that answers a first visit."""
        return f"{self.cookie}={self.token}; Path=/; HttpOnly; SameSite=Strict"

    def _holds(self, cookies: str) -> bool:
        try:
            found = SimpleCookie(cookies).get(self.cookie)
        except CookieError:
            return False
        return found is not None and self._is_token(found.value)

    def _is_token(self, text: str) -> bool:
        return secrets.compare_digest(text.encode(), self.token.encode())


def _host(header: str) -> str:
    """The name in a Host header; empty where it names nothing."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
