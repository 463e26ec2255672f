"""The client of commands: errors in words, and no others than those two."""

from __future__ import annotations

import pytest

from quilt_kube.access import Access, Credentials
from quilt_kube.request import ApiError, UnreachableError
from quilt_kube.sync import Client
from tests.support.cli_fakeapi import FakeApi


def test_requests_carry_the_token_and_refusals_the_servers_words(api: FakeApi) -> None:
    api.answers["/api"] = (200, {"items": [{"a": 1}]})
    client = Client(Access(api.url, credentials=Credentials(token="secret")), agent="quilt")
    assert client.items("/api", {"labelSelector": "x=y"}) == [{"a": 1}]
    assert api.seen[0][1] == "/api?labelSelector=x%3Dy"
    assert api.seen[0][2]["Authorization"] == "Bearer secret"
    api.answers["/api"] = (403, {"message": "not you"})
    with pytest.raises(ApiError, match=r"not you \(HTTP 403\)"):
        client.items("/api")


def test_deleting_what_is_gone_is_fine(api: FakeApi) -> None:
    Client(Access(api.url), agent="quilt").delete("/api/v1/namespaces/gone")
    assert api.seen[0][0] == "DELETE"


def test_who_does_not_answer_or_is_no_kubernetes_is_unreachable(api: FakeApi) -> None:
    api.answers["/version"] = (200, "<html>")
    with pytest.raises(UnreachableError, match="not as Kubernetes"):
        Client(Access(api.url), agent="quilt").get("/version")
    with pytest.raises(UnreachableError, match="does not answer"):
        Client(Access("http://127.0.0.1:1"), agent="quilt").get("/version")
