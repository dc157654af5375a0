# SPDX-License-Identifier: Apache-2.0
"""What `watchword doctor` says of grants: whose access shrinks with this release.

Through 0.x a grant for projects passed on the account's own paths too. A caller that relied on it is refused
after the upgrade, so it has to be known before.
"""

from collections.abc import Iterator, Mapping
from typing import Final

from watchword.cli.findings import Finding, Object, where_of
from watchword.trust import USAGE_READ_SCOPE, USAGE_WRITE_SCOPE
from watchword.trust.routes import flaw_of_binding

_LISTS: Final = ("accounts", "projects")


def findings_of_grants(objects: list[Object]) -> Iterator[Finding]:
    """Workloads whose grants hold for less than they did, lists that are empty, and routes that are refused.

    Args:
        objects: ProtectedServices and TrustedWorkloads as the API server gives them; others are passed over.
    """
    services: dict[tuple[str, str], Object] = {}
    for item in objects:
        if item.get("kind") == "ProtectedService":
            services[_place(item)] = item
            yield from _of_service(item)
    for item in objects:
        if item.get("kind") == "TrustedWorkload":
            yield from _of_workload(item, services)


def _of_service(item: Object) -> Iterator[Finding]:
    for route in _routes(item):
        path = str(route.get("path", ""))
        if flaw := flaw_of_binding(path, route.get("query")):
            detail = (
                f"the route {path} is refused from this release on: {flaw}. "
                "Remedy: name the project's account too, in the path or in the query"
            )
            yield Finding(where_of(item), detail, is_serious=False)


def _of_workload(item: Object, services: Mapping[tuple[str, str], Object]) -> Iterator[Finding]:
    spec = item.get("spec") or {}
    namespace, _ = _place(item)
    service = services.get((namespace, (spec.get("serviceRef") or {}).get("name", "")))
    wide = _account_wide_paths(service)
    for place, grant in enumerate(spec.get("grants") or ()):
        path = f"spec.grants[{place}]"
        for name in _LISTS:
            if grant.get(name) == []:
                detail = (
                    f"{path}.{name} is empty, which is refused from this release on. Remedy: leave it out"
                )
                yield Finding(where_of(item), detail, is_serious=False)
        lost = sorted({text for scope in grant.get("scopes") or () for text in wide.get(scope, ())})
        if grant.get("projects") and lost:
            detail = (
                f"{path} is for projects, and no longer holds for {', '.join(lost)}. Remedy: where that is "
                "wanted, add a grant with the same scopes and accounts and without projects"
            )
            yield Finding(where_of(item), detail, is_serious=False)


def _account_wide_paths(service: Object | None) -> dict[str, list[str]]:
    """The paths without a project, by the scope that each asks for."""
    found = {
        USAGE_READ_SCOPE: ["reading the account's usage"],
        USAGE_WRITE_SCOPE: ["writing the account's usage"],
    }
    for route in _routes(service or {}):
        path = str(route.get("path", ""))
        of_project = "{project}" in path or "project" in (route.get("query") or {}).values()
        if not of_project and not route.get("public"):
            found.setdefault(str(route.get("scope", "")), []).append(path)
    return found


def _routes(service: Object) -> list[Object]:
    return (service.get("spec") or {}).get("routes") or []


def _place(item: Object) -> tuple[str, str]:
    metadata = item["metadata"]
    return metadata.get("namespace", ""), metadata["name"]
