"""The way to an API server, over real sockets: by a proxy, under another name, as somebody else."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from quilt_kube import aio, sync
from quilt_kube.access import Access
from quilt_kube.kubeconfig import from_kubeconfig
from quilt_kube.request import UnreachableError, read

Corpus = Callable[..., Path]
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
both = pytest.mark.parametrize("kind", ["aio", "sync"])


@dataclass
class Server:
    """A server of one answer, or with `tunnel` a proxy that leads to it; `heads` are what it was asked."""

    tls: ssl.SSLContext | None = None
    tunnel: int = 0
    heads: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[int]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.tls)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            if head.startswith(b"CONNECT"):
                writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.tunnel)
                await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
            else:
                writer.write(ANSWER)
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()


async def ask(kind: str, access: Access) -> bytes:
    if kind == "sync":
        return await asyncio.to_thread(sync.Client(access, agent="a", timeout=60.0).send, read("/version"))
    async with aio.Client(access, agent="a", timeout=60.0) as client:
        return await client.send(read("/version"))


def serving(folder: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(folder / "serving.crt", folder / "serving.key")
    return made


def load(path: Path) -> Access:
    return from_kubeconfig([path], environment={})


@both
async def test_a_server_is_verified_under_the_name_in_the_kubeconfig(corpus: Corpus, kind: str) -> None:
    """u9: A server behind a tunnel is verified under `tls-server-name`, and refused without it."""
    server = Server(serving(corpus("named").parent))
    async with server.serve() as port:
        assert await ask(kind, load(corpus("named", f"127.0.0.1:{port}"))) == b"{}"
        with pytest.raises(UnreachableError, match=r"(?i)certificate verify failed"):
            await ask(kind, load(corpus("unnamed", f"127.0.0.1:{port}")))


@both
async def test_a_plain_server_is_asked_by_the_proxy(corpus: Corpus, kind: str) -> None:
    """u9: `proxy-url` leads to a server without TLS, with the user that it names."""
    proxy = Server()
    async with proxy.serve() as port:
        assert await ask(kind, load(corpus("proxied", "api.invalid:8080", f"127.0.0.1:{port}"))) == b"{}"
    assert proxy.heads[0].startswith("GET http://api.invalid:8080/version HTTP/1.1\r\n")
    pair = base64.b64encode(b"jane:s@crt").decode()
    assert f"\r\nProxy-Authorization: Basic {pair}\r\n" in proxy.heads[0]
    assert "\r\nAuthorization: Bearer t\r\n" in proxy.heads[0]


@both
async def test_a_server_is_asked_through_the_proxys_tunnel(corpus: Corpus, kind: str) -> None:
    """u9: `proxy-url` leads to a server with TLS through a tunnel, which never sees the token."""
    path = corpus("proxied-tls")
    server = Server(serving(path.parent))
    async with server.serve() as port:
        proxy = Server(tunnel=port)
        async with proxy.serve() as proxied:
            access = load(corpus("proxied-tls", "api.example.com:6443", f"127.0.0.1:{proxied}"))
            assert await ask(kind, access) == b"{}"
    assert proxy.heads[0].startswith("CONNECT api.example.com:6443 HTTP/1.")
    assert "Bearer" not in proxy.heads[0]
    assert "\r\nAuthorization: Bearer t\r\n" in server.heads[0]


@both
async def test_who_is_asked_to_be_somebody_else_says_so(corpus: Corpus, kind: str) -> None:
    """u9: Every request of an impersonating kubeconfig carries its headers, repeated ones too."""
    server = Server()
    async with server.serve() as port:
        await ask(kind, load(corpus("impersonating", f"127.0.0.1:{port}")))
    for line in ("Impersonate-User: jane", "Impersonate-Group: dev", "Impersonate-Group: system:masters"):
        assert f"\r\n{line}\r\n" in server.heads[0]
