# SPDX-License-Identifier: Apache-2.0
"""The rule on the change of a DeskClient: a flag that was set is withdrawn by `false` and by nothing less."""

from __future__ import annotations

import copy

import pytest

from testing.controlplane import ApiError, Cluster
from tests.cluster.admission import collection, create
from tests.trust.admission_desk import admin

_LOST = "a flag that was set is not withdrawn by leaving it out"


def test_an_admin_flag_is_not_lost_by_leaving_it_out(crds: Cluster) -> None:
    made = create(crds, admin(adminServiceAccount=True, grantedBy="alice"), dry_run=False)
    path = f"{collection(made)}/{made['metadata']['name']}"
    without = copy.deepcopy(made)
    del without["spec"]["adminServiceAccount"]
    try:
        with pytest.raises(ApiError, match=_LOST):
            crds.request("PUT", path, without)
        with pytest.raises(ApiError, match=_LOST):
            crds.request(
                "PATCH",
                path,
                {"spec": {"adminServiceAccount": None}},
                content_type="application/merge-patch+json",
            )
        kept = crds.request(
            "PATCH", path, {"spec": {"grantedBy": "bob"}}, content_type="application/merge-patch+json"
        )
        assert kept["spec"]["adminServiceAccount"] is True
        withdrawn = crds.request(
            "PATCH",
            path,
            {"spec": {"adminServiceAccount": False}},
            content_type="application/merge-patch+json",
        )
        assert withdrawn["spec"]["adminServiceAccount"] is False
    finally:
        crds.request("DELETE", path)


def test_an_explicit_null_is_an_error_that_names_the_field(crds: Cluster) -> None:
    flagged = admin(adminServiceAccount=True, grantedBy="alice")
    path = f"{collection(flagged)}/{flagged['metadata']['name']}"
    merge, json_patch, apply = (
        f"application/{kind}" for kind in ("merge-patch+json", "json-patch+json", "apply-patch+yaml")
    )
    words = {
        "adminServiceAccount": r"spec\.adminServiceAccount: Unsupported value: null",
        "authentication": r"spec\.authentication: (Required value|Invalid value: \"null\")",
        "grantedBy": r"spec\.grantedBy: Invalid value",
    }
    for field, said in words.items():
        document = copy.deepcopy(flagged)
        document["spec"][field] = None
        with pytest.raises(ApiError, match=said):
            create(crds, document)
        with pytest.raises(ApiError, match=said):
            crds.request("PATCH", path, document, content_type=apply, parameters={"fieldManager": "test"})
    made = create(crds, flagged, dry_run=False)
    try:
        for field, said in words.items():
            document = copy.deepcopy(made)
            document["spec"][field] = None
            steps = [{"op": "replace", "path": f"/spec/{field}", "value": None}]
            with pytest.raises(ApiError, match=said):
                crds.request("PUT", path, document)
            with pytest.raises(ApiError, match=said):
                crds.request("PATCH", path, steps, content_type=json_patch)
            # In a merge patch null says that the field is to go.
            gone = _LOST if field == "adminServiceAccount" else said
            with pytest.raises(ApiError, match=gone):
                crds.request("PATCH", path, {"spec": {field: None}}, content_type=merge)
    finally:
        crds.request("DELETE", path)


def test_a_null_that_the_api_server_drops_says_nothing(crds: Cluster) -> None:
    """Who granted a flag that is not there: the API server takes the null for a field that was left out."""
    document = admin()
    document["spec"]["grantedBy"] = None
    assert "grantedBy" not in create(crds, document)["spec"]
