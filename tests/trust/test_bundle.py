# SPDX-License-Identifier: Apache-2.0
"""A bundle is believed because it is whole; it is used only when nothing in it is doubtful."""

import functools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import compiled, issuer, service, workload
from testing.tokens import Signer
from watchword.trust import Bundle, BundleError, decode_bundle, encode_bundle, load, pack_bundle, seal


@functools.cache
def whole() -> bytes:
    return encode_bundle(compiled(issuer(), service(), workload()).bundles[0])


KNOWN = {field.encode_name for field in msgspec.structs.fields(Bundle)}


def changed(**members: Any) -> bytes:
    """The bundle with other members and, where it still has the right form, the digest that fits them."""
    document = json.loads(whole()) | members
    if "schemaVersion" in members or not members.keys() <= KNOWN:
        return json.dumps(document).encode()
    try:
        return encode_bundle(seal(msgspec.convert(document, Bundle), 1))
    except msgspec.ValidationError:
        return json.dumps(document).encode()


def first(member: str) -> Any:
    return json.loads(whole())[member][0]


@pytest.mark.parametrize(
    ("field", "members"),
    [
        ("schemaVersion", {"schemaVersion": 3}),
        ("schemaVersion", {"schemaVersion": "2"}),
        ("schemaVersion", {"schemaVersion": 10**400}),
        ("generation", {"generation": 0}),
        ("audiences", {"audiences": []}),
        ("audiences[0]", {"audiences": [""]}),
        ("digest", {"extra": 1}),
        ("requires", {"requires": ["tomorrow"]}),
        ("service", {"service": {"namespace": "a/b", "name": "c"}}),
        ("service", {"service": {"namespace": "a", "name": "c\n"}}),
        ("token.maxLifetimeSeconds", {"token": {"maxLifetimeSeconds": 10**9}}),
        ("usageBasePath", {"usageBasePath": "/a/../b"}),
        ("routes", {"routes": [{"path": "/a//b", "methods": ["GET"], "scope": "a:b"}]}),
        ("grants[0]", {"grants": [[{"scopes": ["a:b\n"]}]]}),
        ("grants[0]", {"grants": [[{"scopes": ["a:b"], "accounts": ["x\r\ny"]}]]}),
        ("workloads[0]", {"grants": []}),
        ("workloads[0]", {"workloads": [["w", 9, "n", "s", 0]]}),
        ("workloads[0]", {"workloads": [["w\n", 0, "n", "s", 0]]}),
        ("workloads[1]", {"workloads": [["w", 0, "n", "s", 0], ["v", 0, "n", "s", 0]]}),
    ],
)
def test_a_doubtful_bundle_is_refused_by_the_field(field: str, members: dict[str, Any]) -> None:
    with pytest.raises(BundleError) as problem:
        load(decode_bundle(changed(**members)))
    assert problem.value.field == field


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("issuers[1].name", {"keys": [Signer("other").jwk]}),
        ("issuers[1].keys[0]", {"name": "copy"}),
        (
            "issuers[1].revokedKeys[0].k",
            {
                "name": "copy",
                "keys": [Signer("other").jwk],
                "revokedKeys": [{"kty": "oct", "kid": "z", "k": "AAAA"}],
            },
        ),
        ("issuers[1].keys[0]", {"name": "copy", "alias": True}),
        ("issuers[1].algorithms", {"name": "copy", "algorithms": ["none"]}),
        ("issuers[1].keys[0].k", {"name": "copy", "keys": [{"kty": "oct", "kid": "z", "k": "AAAA"}]}),
    ],
)
def test_an_issuer_that_could_be_taken_for_another_is_refused(field: str, changes: dict[str, Any]) -> None:
    given = dict(changes)
    one = first("issuers")
    if given.pop("alias", False):
        given["keys"] = [one["keys"][0] | {"kid": "alias"}]
    with pytest.raises(BundleError) as problem:
        load(decode_bundle(changed(issuers=[one, one | given])))
    assert problem.value.field == field


@pytest.mark.parametrize(
    "member",
    sorted(
        set(json.loads(whole()))
        - {
            "routes",
            "limits",
            "meters",
            "usageBasePath",
            "eventRetentionDays",
            "lateDays",
            "futureSeconds",
            "passHeaders",
            "requires",
        }
    ),
)
def test_a_member_that_is_missing_is_named(member: str) -> None:
    document = json.loads(whole())
    del document[member]
    with pytest.raises(BundleError) as problem:
        decode_bundle(json.dumps(document).encode())
    assert problem.value.field == member


def test_the_same_bytes_pack_alike() -> None:
    assert pack_bundle(whole()) == pack_bundle(whole())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\x1f\x8b", b'{"schemaVersion":1,', b"["]))
def test_no_bytes_get_more_than_a_refusal(data: bytes, start: bytes) -> None:
    with pytest.raises(BundleError):
        decode_bundle(start + data)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_one_changed_byte_is_a_refusal_or_changes_nothing_that_decides(data: st.DataObject) -> None:
    raw = bytearray(whole())
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        bundle = decode_bundle(bytes(raw))
    except BundleError:
        return
    assert bundle.digest == decode_bundle(whole()).digest
