# SPDX-License-Identifier: Apache-2.0
"""What gates of the previous release get of grants: nothing that they would read wider than it is."""

from __future__ import annotations

from testing.manifests import compiled, issuer, service, workload
from watchword.trust import decode_bundle
from watchword.trust.bundle_forms import PREVIOUS_ENTRY, WHOLE_ENTRY, decode_previous, entries_of

ROUTES = [
    {"path": "/{account}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/{project}/cache", "methods": ["GET"], "scope": "cache:read"},
    {"path": "/{account}/{project}/builds", "methods": ["GET"], "scope": "builds:read"},
]
PROJECTS = {
    "scopes": ["account:usage:read", "builds:read", "cache:read"],
    "accounts": ["acme"],
    "projects": ["ios"],
}
ACCOUNT = {"scopes": ["cache:read"], "accounts": ["globex"]}


def test_the_previous_form_keeps_of_a_grant_for_projects_what_only_project_routes_ask_for() -> None:
    objects = (issuer(), service(routes=ROUTES), workload(grants=[PROJECTS, ACCOUNT]))
    entries = entries_of(compiled(*objects).bundles[0])

    [[projects, account]] = decode_previous(entries[PREVIOUS_ENTRY]).grants
    assert (projects.scopes, projects.accounts, projects.projects) == (("builds:read",), ("acme",), ("ios",))
    assert (account.scopes, account.accounts, account.projects) == (("cache:read",), ("globex",), ())

    [[projects, account]] = decode_bundle(entries[WHOLE_ENTRY]).grants
    assert projects.scopes == ("account:usage:read", "builds:read", "cache:read")


def test_a_workload_that_keeps_nothing_is_still_known_in_the_previous_form() -> None:
    objects = (issuer(), service(), workload(grants=[PROJECTS]))
    previous = decode_previous(entries_of(compiled(*objects).bundles[0])[PREVIOUS_ENTRY])
    assert previous.grants == ((),)
    assert [each.name for each in previous.workloads] == ["atlas"]
