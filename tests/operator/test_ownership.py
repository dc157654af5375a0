# SPDX-License-Identifier: Apache-2.0
"""Only the controller of an object says whose it is, whatever else the object says of itself."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.operator.owned_objects import OWNED_KINDS, Owner, controller_of, owner_of, seen_from

LABELS = {"app.kubernetes.io/managed-by": "watchword", "watchword.dev/service": "api"}
OURS = {
    "apiVersion": "watchword.dev/v1alpha1",
    "kind": "ProtectedService",
    "name": "api",
    "uid": "uid-1",
    "controller": True,
}
REFERENCES = st.fixed_dictionaries(
    {},
    optional={
        "apiVersion": st.sampled_from(
            ["watchword.dev/v1alpha1", "watchword.dev", "watchword.dev.evil/v1", "v1", 7]
        ),
        "kind": st.sampled_from(["ProtectedService", "TrustedWorkload", "Deployment", None]),
        "name": st.sampled_from(["api", "api2", "", None]),
        "uid": st.sampled_from(["uid-1", "uid-0", "", None]),
        "controller": st.sampled_from([True, False, "true", 1, None]),
    },
)
METADATA = st.fixed_dictionaries(
    {"name": st.sampled_from(["watchword-bundle-api", "watchword-api", "other"])},
    optional={
        "labels": st.sampled_from([LABELS, {}, None]),
        "ownerReferences": st.one_of(
            st.none(), st.lists(REFERENCES, max_size=3), st.just("x"), st.just([None])
        ),
    },
)


def test_an_object_of_this_service_is_ours_with_and_without_its_labels() -> None:
    for labels in (LABELS, {}, None):
        assert owner_of({"labels": labels, "ownerReferences": [OURS]}, "api", "uid-1") is Owner.THIS_SERVICE


@pytest.mark.parametrize(
    "change",
    [
        {"controller": False},
        {"controller": "true"},
        {"kind": "TrustedWorkload"},
        {"apiVersion": "watchword.dev.evil/v1alpha1"},
        {"apiVersion": "watchword.dev"},
        {"name": "other"},
        {"uid": ""},
    ],
    ids=str,
)
def test_an_object_whose_reference_is_not_quite_ours_is_somebody_elses(change: dict[str, Any]) -> None:
    metadata = {"labels": LABELS, "ownerReferences": [OURS | change]}
    assert owner_of(metadata, "api", "uid-1") is Owner.OTHER


def test_labels_alone_make_nothing_ours() -> None:
    assert owner_of({"labels": LABELS}, "api", "uid-1") is Owner.OTHER


def test_an_object_of_a_deleted_service_of_the_name_is_told_from_a_strangers() -> None:
    assert owner_of({"ownerReferences": [OURS]}, "api", "uid-2") is Owner.EARLIER_SERVICE


def test_a_service_without_a_uid_owns_nothing() -> None:
    assert owner_of({"ownerReferences": [OURS | {"uid": ""}]}, "api", "") is Owner.OTHER


@settings(deadline=None)
@given(METADATA, st.sampled_from(["api", "api2", ""]), st.sampled_from(["uid-1", "uid-0", ""]))
def test_whatever_an_object_says_it_is_ours_only_by_one_whole_controller_reference(
    metadata: dict[str, Any], service: str, uid: str
) -> None:
    references = metadata.get("ownerReferences")
    first = next(
        (
            each
            for each in (references if isinstance(references, list) else [])
            if isinstance(each, dict) and each.get("controller") is True
        ),
        None,
    )
    is_ours = owner_of(metadata, service, uid) is Owner.THIS_SERVICE
    expected = (
        first is not None
        and service != ""
        and uid != ""
        and (first.get("apiVersion"), first.get("kind")) == ("watchword.dev/v1alpha1", "ProtectedService")
        and (first.get("name"), first.get("uid")) == (service, uid)
    )
    assert is_ours == expected
    is_readable = references is None or all(isinstance(each, dict) for each in references)
    for kind in OWNED_KINDS if is_readable else ():
        seen = seen_from(kind, {"metadata": metadata | {"uid": "u", "resourceVersion": "5"}})
        name = "watchword-api" if kind == "NetworkPolicy" else "watchword-bundle-api"
        if metadata["name"] == name:
            # What the watch notes decides as the whole object does.
            assert (seen.owner(uid) is Owner.THIS_SERVICE) == (
                owner_of(metadata, "api", uid) is Owner.THIS_SERVICE
            )
        else:
            assert not seen.owner_uid or controller_of(metadata)[0] != "api"
