"""CNI documents: any input becomes a configuration or an error with the specification's code."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_runtime.core import cni
from quilt_runtime.core.cni import CniError
from quilt_runtime.core.ipam import Owner

T = TypeVar("T")
BASE: dict[str, Any] = {"cniVersion": "1.0.0", "name": "quilt", "type": "quilt-cni"}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["cniVersion", "name", "mtu", "dns", "prevResult", "runtimeConfig", "cni.dev/valid-attachments"]


def code(document: Any, environment: dict[str, str] | None = None) -> int:
    text = document if isinstance(document, str) else json.dumps(document)
    with pytest.raises(CniError) as refused:
        cni.parse_config(text, environment or {})
    assert str(refused.value)
    return refused.value.code


def tried(act: Callable[..., T], *arguments: object) -> tuple[T | None, int]:
    """Return what `act` returned, or its error's code; anything else that it raises is a failure."""
    try:
        return act(*arguments), 0
    except CniError as error:
        return None, error.code


@given(st.text(max_size=200) | json_values.map(json.dumps))
def test_any_text_is_a_configuration_or_an_error(text: str) -> None:
    _, refused = tried(cni.parse_config, text, {})
    assert refused in {0, 1, 6, 7}


@given(st.dictionaries(st.sampled_from(KEYS), json_values, max_size=4), st.text(max_size=40))
def test_any_values_are_a_configuration_or_an_error(changes: dict[str, Any], arguments: str) -> None:
    config, refused = tried(cni.parse_config, json.dumps({**BASE, **changes}), {"CNI_ARGS": arguments})
    assert refused in {0, 1, 6, 7}
    if config is not None:
        cni.previous_addresses(config.prev_result)


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_names_are_an_owner_or_an_error(container: str, interface: str) -> None:
    owner, refused = tried(cni.parse_owner, {"CNI_CONTAINERID": container, "CNI_IFNAME": interface})
    assert refused == cni.INVALID_ENVIRONMENT or owner == Owner(container, interface)


def test_codes() -> None:
    assert code("{") == cni.DECODING_FAILURE
    assert code("[" * 100_000) == cni.DECODING_FAILURE
    assert code("[]") == cni.DECODING_FAILURE
    assert code({**BASE, "cniVersion": "0.2.0"}) == cni.INCOMPATIBLE_VERSION
    assert code({**BASE, "cniVersion": ["1.0.0"]}) == cni.INCOMPATIBLE_VERSION
    assert code({**BASE, "name": ""}) == cni.INVALID_CONFIG
    assert code({**BASE, "mtu": True}) == cni.INVALID_CONFIG
    assert code({**BASE, "mtu": 100}) == cni.INVALID_CONFIG
    assert code({**BASE, "runtimeConfig": {"ips": ["10.42.1.5", "10.42.1.6"]}}) == cni.INVALID_CONFIG
    assert code({**BASE, "runtimeConfig": {"mac": "01:00:00:00:00:01"}}) == cni.INVALID_CONFIG


def test_wishes_come_by_capability_or_by_arguments() -> None:
    arguments = {"CNI_ARGS": "IgnoreUnknown=1;IP=10.42.1.9;MAC=0A:58:0A:2A:01:09;K8S_POD_NAME=x"}
    config = cni.parse_config(json.dumps(BASE), arguments)
    assert (config.addresses, config.mac) == (("10.42.1.9",), "0a:58:0a:2a:01:09")
    capabilities = {**BASE, "runtimeConfig": {"ips": ["10.42.1.8/24"], "mac": "0a:58:0a:2a:01:08"}}
    config = cni.parse_config(json.dumps(capabilities), arguments)
    assert (config.addresses, config.mac) == (("10.42.1.8/24",), "0a:58:0a:2a:01:08")


@pytest.mark.parametrize(
    ("arguments", "alias"),
    [
        ("K8S_POD_NAMESPACE=media;K8S_POD_NAME=camera-0", "media/camera-0"),
        ("K8S_POD_NAMESPACE=media", "media/"),
        ("K8S_POD_NAMESPACE=Me/dia;K8S_POD_NAME=x", ""),
        ("K8S_POD_NAMESPACE=media;K8S_POD_NAME=x\n", ""),
        ("K8S_POD_NAMESPACE=media;K8S_POD_NAME=" + "x" * 300, "media/" + "x" * 248),
        ("", ""),
    ],
)
def test_a_pods_alias_is_its_namespace_and_name(arguments: str, alias: str) -> None:
    assert cni.pod_alias({"CNI_ARGS": arguments}) == alias


def test_attachments() -> None:
    listed = [{"containerID": "c1", "ifname": "eth0"}]
    config = cni.parse_config(json.dumps({**BASE, "cni.dev/valid-attachments": listed}), {})
    assert config.attachments == {Owner("c1", "eth0")}
    assert cni.parse_config(json.dumps(BASE), {}).attachments is None


def test_previous_addresses_survive_nonsense() -> None:
    assert cni.previous_addresses({"ips": [{"address": "10.42.1.5/32"}, {"address": 5}, "x"]}) == [
        "10.42.1.5"
    ]
    assert cni.previous_addresses({"ips": {"address": "10.42.1.5/32"}}) == []


def test_an_error_is_written_as_the_specification_says() -> None:
    document = CniError(11, "try again", "details").document("1.0.0")
    assert document == {"cniVersion": "1.0.0", "code": 11, "msg": "try again", "details": "details"}
