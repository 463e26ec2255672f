"""No secret leaves a cluster: whatever is written around it, and whatever field it is in."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quilt_cli.core import redaction

TOKEN = "eyJhbGciOiJSUzI1NiIsImtpZCI6IngifQ.eyJzdWIiOiJzeXN0ZW06c2VydmljZWFjY291bnQifQ.c2lnbmF0dXJl_-x"
SECRET = "planted-7f3a9c"
AROUND = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=30)


@given(AROUND, AROUND)
def test_a_token_is_found_wherever_it_is(before: str, after: str) -> None:
    # What joins it without a gap makes another word of it.
    line = redaction.text(f"{before} {TOKEN} {after}")
    assert TOKEN not in line
    assert redaction.MASK in line


@pytest.mark.parametrize(
    "line",
    [
        f"Authorization: Bearer {SECRET}",
        f"authorization: 'basic {SECRET}'",
        f"curl -H 'authorization: bearer {SECRET}' https://x",
        f"--token={SECRET} --port=3",
        f'{{"event": "asked", "token": "{SECRET}", "node": "n1"}}',
        json.dumps({"event": json.dumps({"clientSecret": SECRET})}),
        f"K3S_TOKEN={SECRET}",
        f"password: {SECRET}",
        f"client-key-data: {SECRET}",
        f"https://user:{SECRET}@proxy:3128/",
        f"-----BEGIN EC PRIVATE KEY-----\n{SECRET}\nmore\n-----END EC PRIVATE KEY-----\nrest",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
    ],
)
def test_secrets_are_known_by_what_is_before_them(line: str) -> None:
    found = redaction.text(line)
    assert SECRET not in found
    assert redaction.text(found) == found


@pytest.mark.parametrize(
    "line",
    [
        'secret "quilt-multicast" not found',
        '{"event": "claim_lost", "node": "n1", "subnet": "10.42.1.0/24", "token_expires": 3600}',
        "basic connectivity works; bearer of news",
        "https://192.0.2.1:6443/api?key=3",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert redaction.text(line) == line


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.just("text"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(PLAIN, st.sampled_from(["token", "apiToken", "K8S_API_PASSWORD", "client_secret", "auth", "api-key"]))
def test_fields_are_known_by_their_names_at_any_depth(other: object, name: str) -> None:
    found = redaction.document({"one": [other, {"two": {name: SECRET, "kept": other}}]})
    assert SECRET not in json.dumps(found)
    assert found["one"][1]["two"]["kept"] == other
