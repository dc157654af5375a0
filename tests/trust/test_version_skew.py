# SPDX-License-Identifier: Apache-2.0
"""Objects of a newer release: nothing new is trusted by them, and what they take away is taken away."""

from typing import Any

import pytest

from testing.manifests import issuer, service, workload
from watchword.trust import TrustedWorkload
from watchword.trust.objects import read_object
from watchword.trust.version_skew import narrowed, read_any_release

NEWER: list[dict[str, Any]] = [
    workload(newField=1),
    workload(grants=[{"scopes": ["account:usage:read"], "accounts": ["*"], "methods": ["GET"]}]),
    workload(**{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "new": True}}], "other": {"a": 1}}),
    service(token={"binding": "Pod", "anonymous": False}, routing={"new": []}),
    issuer(rotation={"policy": "Pin", "window": 3}),
    workload() | {"scale": {}},
]


@pytest.mark.parametrize("document", NEWER)
def test_what_is_unknown_is_told_apart_from_what_is_wrong(document: dict[str, Any]) -> None:
    reading = read_any_release(document)
    assert reading.resource is None
    assert reading.remainder is not None
    assert reading.problems


WRONG: list[dict[str, Any]] = [
    workload(newField=1, serviceRef={}),
    workload(serviceAccount={"namespace": "*", "name": "a"}, newField=1),
    workload(grants="all"),
    {},
    {"kind": 1, "apiVersion": None, "metadata": [], "spec": "x"},
    workload() | {"metadata": None},
    workload() | {"spec": {"a.b[0].c": 1}},
]


@pytest.mark.parametrize("document", WRONG)
def test_what_is_wrong_besides_leaves_nothing(document: dict[str, Any]) -> None:
    reading = read_any_release(document)
    assert (reading.resource, reading.remainder) == (None, None)
    assert reading.problems


def test_an_object_of_this_release_is_read_as_ever() -> None:
    assert read_any_release(workload()).resource == read_object(workload()).resource


def test_a_hostile_number_of_unknown_fields_ends() -> None:
    assert read_any_release(workload(**{f"f{n}": n for n in range(10_000)})).remainder is None


def remainder(**spec: Any) -> TrustedWorkload:
    found = read_any_release(workload(newField=1, **spec)).remainder
    assert isinstance(found, TrustedWorkload)
    return found


def test_a_newer_text_can_suspend_and_end_and_never_widen() -> None:
    old = read_object(workload(expires="2027-01-01T00:00:00Z")).resource
    assert isinstance(old, TrustedWorkload)
    wider = remainder(grants=[{"scopes": ["app:admin"], "accounts": ["*"]}], serviceAccount={
        "namespace": "evil", "name": "evil"})  # fmt: skip
    assert narrowed(old, wider) == old
    assert narrowed(old, remainder(suspend=True)).spec.suspend
    assert narrowed(old, remainder(expires="2026-01-01T00:00:00Z")).spec.expires == "2026-01-01T00:00:00Z"
    assert narrowed(old, remainder(expires="2028-01-01T00:00:00Z")).spec.expires == "2027-01-01T00:00:00Z"


def test_a_newer_issuer_can_revoke() -> None:
    old = read_object(issuer(revoked=[{"tokenId": "a"}])).resource
    new = read_any_release(issuer(newField=1, revoked=[{"tokenId": "b"}])).remainder
    assert old is not None
    assert new is not None
    revoked = narrowed(old, new).spec.revoked  # type: ignore[union-attr]  # an issuer, just read
    assert [each.token_id for each in revoked] == ["a", "b"]
