"""The client: kubeconfigs as kubectl reads them, errors in words, nothing else than those two."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_fakeapi import FakeApi

from quilt_cli.api.access import Access, AccessError
from quilt_cli.api.client import ApiClient, ApiError, ApiUnreachableError
from quilt_cli.api.kubeconfig import from_kubeconfig
from quilt_cli.api.locate import find


def config(name: str, server: str, **user: Any) -> dict[str, Any]:
    return {
        "clusters": [{"name": name, "cluster": {"server": server}}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def write(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_several_files_are_merged_and_the_first_decides(tmp_path: Path) -> None:
    one = write(tmp_path / "one", config("a", "http://a", token="ta"))
    two = write(tmp_path / "two", config("b", "http://b", token="tb"))
    access = find(f"{one}:{two}:{tmp_path / 'absent'}", None, {})
    assert (access.server, access.bearer()) == ("http://a", "ta")
    access = find(None, "b", {"KUBECONFIG": f"{one}:{two}"})
    assert (access.server, access.bearer(), access.context) == ("http://b", "tb", "b")


def test_a_token_file_is_relative_to_its_kubeconfig_and_read_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    access = from_kubeconfig([write(tmp_path / "k", config("a", "http://a", tokenFile="token"))])
    assert access.bearer() == "first"
    (tmp_path / "token").write_text("second\n")
    assert access.bearer() == "second"


def test_a_credential_plugin_is_run(tmp_path: Path) -> None:
    script = 'import json; print(json.dumps({"status": {"token": "from-plugin"}}))'
    plugin = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": sys.executable,
        "args": ["-c", script],
    }
    access = from_kubeconfig([write(tmp_path / "k", config("a", "http://a", exec=plugin))])
    assert access.bearer() == "from-plugin"
    plugin["args"] = ["-c", "import sys; sys.exit('log in first')"]
    with pytest.raises(AccessError, match="log in first"):
        from_kubeconfig([write(tmp_path / "k", config("a", "http://a", exec=plugin))])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "no kubeconfig"),
        ("{", "cannot be used"),
        (json.dumps({"current-context": "x"}), "not among its contexts"),
        (json.dumps({}), "no current context"),
    ],
)
def test_a_broken_kubeconfig_is_told_in_words(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "k"
    path.write_text(content)
    with pytest.raises(AccessError, match=said):
        from_kubeconfig([path])


def test_without_any_cluster_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="KUBECONFIG"):
        find(None, None, {"HOME": str(tmp_path)}, tmp_path)


def test_a_bad_authority_is_told_in_words(tmp_path: Path) -> None:
    content = config("a", "https://a")
    content["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(b"no pem").decode()
    with pytest.raises(AccessError):
        from_kubeconfig([write(tmp_path / "k", content)])


def test_requests_carry_the_token_and_refusals_the_servers_words(api: FakeApi) -> None:
    api.answers["/api"] = (200, {"items": [{"a": 1}]})
    client = ApiClient(Access(api.url, token="secret"))
    assert client.items("/api", {"labelSelector": "x=y"}) == [{"a": 1}]
    assert api.seen[0][1] == "/api?labelSelector=x%3Dy"
    assert api.seen[0][2]["Authorization"] == "Bearer secret"
    api.answers["/api"] = (403, {"message": "not you"})
    with pytest.raises(ApiError, match=r"not you \(HTTP 403\)"):
        client.items("/api")


def test_deleting_what_is_gone_is_fine(api: FakeApi) -> None:
    ApiClient(Access(api.url)).delete("/api/v1/namespaces/gone")
    assert api.seen[0][0] == "DELETE"


def test_who_does_not_answer_or_is_no_kubernetes_is_unreachable(api: FakeApi) -> None:
    api.answers["/version"] = (200, "<html>")
    with pytest.raises(ApiUnreachableError, match="not as Kubernetes"):
        ApiClient(Access(api.url)).get("/version")
    with pytest.raises(ApiUnreachableError, match="does not answer"):
        ApiClient(Access("http://127.0.0.1:1")).get("/version")
