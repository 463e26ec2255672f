"""Finding the API server as kubectl does: the corpus of kubeconfigs, a pod's account, proxies, plugins."""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quilt_kube import proxies
from quilt_kube.access import Access, AccessError, Credentials, find, in_cluster
from quilt_kube.kubeconfig import from_kubeconfig

Corpus = Callable[..., Path]


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


def bearer(access: Access) -> str:
    return access.credentials.authorization().removeprefix("Bearer ")


def load(path: Path, **environment: str) -> Access:
    return from_kubeconfig([path], environment=environment)


@pytest.fixture
def pod(tmp_path: Path) -> tuple[dict[str, str], Path]:
    """Environment and account of a pod."""
    folder = tmp_path / "account"
    folder.mkdir()
    (folder / "token").write_text("of the pod\n")
    (folder / "ca.crt").write_text("")
    home = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.43.0.1", "KUBERNETES_SERVICE_PORT": "443"}
    return home, folder


def test_several_files_are_merged_and_the_first_decides(tmp_path: Path) -> None:
    """u9: Of several files in KUBECONFIG the first that defines a name decides."""
    one = write(tmp_path / "one", config("a", "http://a", token="ta"))
    two = write(tmp_path / "two", config("b", "http://b", token="tb"))
    again = write(tmp_path / "again", config("a", "http://other", token="other", username="left out"))
    (tmp_path / "empty").write_text("")
    named = {"KUBECONFIG": f"{tmp_path / 'absent'}:{tmp_path / 'empty'}:{one}::{two}:{again}"}
    access = find(environment=named)
    assert (access.server, bearer(access), access.context) == ("http://a", "ta", "a")
    access = find(context="b", environment=named)
    assert (access.server, bearer(access), access.context) == ("http://b", "tb", "b")


def test_the_order_is_the_flag_the_variable_the_home_and_then_the_pod(
    tmp_path: Path, pod: tuple[dict[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """u9: Where several ways lead to a cluster the one that kubectl uses is used."""
    home, account = pod
    monkeypatch.setattr("quilt_kube.access.make_tls", lambda _: None)
    assert find(environment=home, account=account).server == "https://10.43.0.1:443"
    (tmp_path / ".kube").mkdir()
    write(tmp_path / ".kube/config", config("h", "http://home"))
    assert find(environment=home, account=account).server == "http://home"
    variable = home | {"KUBECONFIG": str(write(tmp_path / "v", config("v", "http://variable")))}
    assert find(environment=variable, account=account).server == "http://variable"
    flag = write(tmp_path / "f", config("f", "http://flag"))
    assert find(str(flag), environment=variable, account=account).server == "http://flag"


def test_a_context_inside_a_pod_is_that_of_a_kubeconfig(pod: tuple[dict[str, str], Path]) -> None:
    """u9: `--context` in a pod without a kubeconfig is refused, not answered with the pod's cluster."""
    home, account = pod
    with pytest.raises(AccessError, match="no context 'east'"):
        find(context="east", environment=home, account=account)


def test_a_token_file_is_relative_to_its_kubeconfig_and_read_each_time(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("first\n")
    access = load(write(tmp_path / "k", config("a", "http://a", tokenFile="token", token="held")))
    assert bearer(access) == "first"
    (tmp_path / "token").write_text("second\n")
    assert bearer(access) == "second"
    (tmp_path / "token").unlink()
    assert bearer(access) == "held"


def test_a_pods_token_is_read_each_time(
    pod: tuple[dict[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, account = pod
    monkeypatch.setattr("quilt_kube.access.make_tls", lambda _: None)
    access = in_cluster(home | {"KUBERNETES_SERVICE_HOST": "fd43::1"}, account)
    assert (access.server, bearer(access)) == ("https://[fd43::1]:443", "of the pod")
    (account / "token").write_text("rotated")
    assert access.headers() == [("Authorization", "Bearer rotated")]


def test_impersonation_is_asked_for_in_headers(corpus: Corpus) -> None:
    """u9, D11: `as`, `as-uid`, `as-groups`, `as-user-extra` of a kubeconfig become headers, as kubectl's."""
    assert load(corpus("impersonating")).headers() == [
        ("Authorization", "Bearer t"),
        ("Impersonate-User", "jane"),
        ("Impersonate-Uid", "1234"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "system:masters"),
        ("Impersonate-Extra-scopes", "view"),
        ("Impersonate-Extra-scopes", "edit"),
        ("Impersonate-Extra-example.com%2Fteam%25", "red"),
    ]
    with pytest.raises(AccessError, match="without `as`"):
        load(corpus("impersonating-nobody"))


def test_a_kubeconfigs_proxy_counts_before_the_environments(corpus: Corpus) -> None:
    """u9, D11: A kubeconfig's `proxy-url` counts, whatever the environment says; an unusable one is named."""
    access = load(corpus("proxied"), HTTP_PROXY="http://other:1", NO_PROXY="*")
    assert access.proxy == "http://jane:s%40crt@192.0.2.9:3128"
    assert "s%40crt" not in repr(access)
    with pytest.raises(AccessError, match=r"socks5://192\.0\.2\.9:3128 cannot be used") as refused:
        load(corpus("socks"))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    ("server", "excluded", "proxied"),
    [
        ("https://192.0.2.1:6443", "", True),
        ("https://127.0.0.1:6443", "", False),
        ("https://127.9.9.9:6443", "", False),
        ("https://[::1]:6443", "", False),
        ("https://localhost:6443", "", False),
        ("https://192.0.2.1:6443", "192.0.2.0/24", False),
        ("https://192.0.2.1:6443", "10.0.0.0/8, 192.0.2.0/28", False),
        ("https://192.0.3.1:6443", "192.0.2.0/24", True),
        ("https://[2001:db8::5]:6443", "2001:db8::/32", False),
        ("https://192.0.2.1:6443", "192.0.2.1", False),
        ("https://192.0.2.1:6443", "192.0.2.1:6443", False),
        ("https://192.0.2.1:6443", "192.0.2.1:443", True),
        ("https://[2001:db8::5]:6443", "[2001:db8::5]:6443", False),
        ("https://api.example.com", "example.com", False),
        ("https://api.example.com", ".example.com", False),
        ("https://api.example.com", "*.Example.com", False),
        ("https://api.example.com", "api.example.com:443", False),
        ("https://example.com", ".example.com", True),
        ("https://example.com", "example.com", False),
        ("https://notexample.com", "example.com", True),
        ("https://api.example.com", "192.0.2.0/24,,other", True),
        ("https://api.example.com", "*", False),
    ],
)
def test_the_environments_proxy_is_used_where_go_uses_it(server: str, excluded: str, proxied: bool) -> None:
    """u9: HTTPS_PROXY never counts for a loopback server, and NO_PROXY accepts ranges, suffixes and ports."""
    environment = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": excluded}
    assert proxies.from_environment(server, environment) == ("http://proxy:3128" if proxied else "")
    lower = {name.lower(): value for name, value in environment.items()}
    assert proxies.from_environment(server, lower) == ("http://proxy:3128" if proxied else "")


def test_a_proxy_without_a_scheme_is_http_and_of_the_servers_scheme() -> None:
    assert proxies.from_environment("https://api", {"HTTPS_PROXY": "proxy:1"}) == "http://proxy:1"
    assert proxies.from_environment("http://api", {"HTTPS_PROXY": "proxy:1"}) == ""


def test_a_plugin_speaks_to_people_and_is_found_beside_its_kubeconfig(
    corpus: Corpus, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """u9: A plugin's prompt on stderr is seen, and its relative command is of the kubeconfig's folder."""
    access = load(corpus("plugin"))
    assert bearer(access) == "token-1"
    assert capfd.readouterr().err == "Open https://login.example.com and enter WDJB\n"
    assert bearer(access) == "token-1"
    assert (tmp_path / "bin/runs").read_text() == "run --region here\n"
    info = json.loads((tmp_path / "bin/info").read_text())
    assert info["kind"] == "ExecCredential"
    authority = base64.b64encode((tmp_path / "ca.crt").read_bytes()).decode()
    assert info["spec"] == {
        "interactive": False,
        "cluster": {
            "server": "https://192.0.2.1:6443",
            "certificate-authority-data": authority,
            "config": {"audience": "mesh"},
        },
    }


def test_a_plugin_is_run_again_when_its_credential_ends_or_is_refused(corpus: Corpus) -> None:
    access = load(corpus("plugin"), PLUGIN_ENDS="2020-01-01T00:00:00Z")
    first = bearer(access)
    assert bearer(access) != first
    access = load(corpus("plugin"), PLUGIN_ENDS="2999-01-01T00:00:00Z")
    first = bearer(access)
    assert bearer(access) == first
    access.credentials.refused()
    assert bearer(access) != first


def test_a_plugin_that_fails_is_reported_in_words(corpus: Corpus, capfd: pytest.CaptureFixture[str]) -> None:
    """u9: What a failing plugin writes to stderr is seen, and the hint for one that does not exist."""
    with pytest.raises(AccessError, match="plugin failed"):
        load(corpus("plugin"), PLUGIN_FAILS="1")
    assert "enter WDJB" in capfd.readouterr().err
    with pytest.raises(AccessError, match="install it with your cloud's tools"):
        load(corpus("plugin-absent"))
    with pytest.raises(AccessError, match="not a terminal"):
        load(corpus("plugin-interactive"))


def test_a_plugin_whose_answer_is_nonsense_is_reported_in_words(tmp_path: Path) -> None:
    for answer in ("{}", "[]", "no"):
        plugin = {"apiVersion": "client.authentication.k8s.io/v1", "command": "echo", "args": [answer]}
        with pytest.raises(AccessError, match="no ExecCredential"):
            load(write(tmp_path / "k", config("a", "http://a", exec=plugin)), PATH="/usr/bin:/bin")


def test_credentials_that_are_given_count_before_a_plugins(corpus: Corpus, tmp_path: Path) -> None:
    assert bearer(load(corpus("plugin-and-token"))) == "given"
    assert not (tmp_path / "bin/runs").exists()
    pair = base64.b64encode(b"jane:secret").decode()
    access = load(corpus("password"))
    assert access.headers() == [("Authorization", f"Basic {pair}")]
    assert access.server == "http://192.0.2.1:6443"
    with pytest.raises(AccessError, match="use an exec plugin"):
        load(corpus("provider"))


def test_the_servers_name_is_that_of_the_kubeconfig(corpus: Corpus) -> None:
    """u9, D11: `tls-server-name` is what the server must be called."""
    tls = load(corpus("named")).tls
    assert isinstance(tls, ssl.SSLContext)
    assert tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="192.0.2.1").server_hostname == (
        "api.example.com"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "not a kubeconfig"),
        ("{", "cannot be used"),
        (json.dumps({"current-context": "x"}), "not among its contexts"),
        (json.dumps({}), "no current context"),
        (json.dumps(config("a", "https://")), "names no host"),
        (
            json.dumps(config("a", "http://a") | {"clusters": [{"name": "a", "cluster": {}}]}),
            "'server' is missing",
        ),
    ],
)
def test_a_broken_kubeconfig_is_reported_in_words(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "k"
    path.write_text(content)
    with pytest.raises(AccessError, match=message):
        load(path)


def test_without_any_cluster_it_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="KUBECONFIG"):
        find(environment={"HOME": str(tmp_path)}, account=tmp_path)
    with pytest.raises(AccessError, match="does not exist"):
        find(environment={"HOME": str(tmp_path), "KUBECONFIG": "/nowhere"}, account=tmp_path)
    with pytest.raises(AccessError, match="--kubeconfig"):
        in_cluster({}, tmp_path)
    with pytest.raises(AccessError, match="token"):
        in_cluster({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, tmp_path)


def test_a_bad_authority_is_reported_in_words(tmp_path: Path, pod: tuple[dict[str, str], Path]) -> None:
    content = config("a", "https://a")
    content["clusters"][0]["cluster"]["certificate-authority-data"] = base64.b64encode(b"no pem").decode()
    with pytest.raises(AccessError):
        load(write(tmp_path / "k", content))
    home, account = pod
    (account / "ca.crt").write_text("no pem")
    with pytest.raises(AccessError, match=r"ca\.crt"):
        in_cluster(home, account)


def test_no_secret_shows_in_a_repr() -> None:
    for held in (Credentials(token="secret"), Credentials(username="u", password="secret")):
        assert "secret" not in repr(Access("https://x", credentials=held))
    assert "secret" not in repr(Access("https://x", proxy="http://u:secret@proxy"))


def test_one_reader_serves_all_components() -> None:
    """u9: Nobody but quilt_kube reads kubeconfigs or finds a service account."""
    root = Path(proxies.__file__).parents[2]
    folders = ("nodeagent", "operator", "cli", "runtime", "multicast", "probes", "devcluster")
    found = [
        str(path.relative_to(root))
        for folder in folders
        for path in (root / folder).rglob("quilt_*/**/*.py")
        if 'current-context"]' in path.read_text() or "kubernetes.io/serviceaccount" in path.read_text()
    ]
    assert found == []
