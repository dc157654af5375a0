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
