# SPDX-License-Identifier: Apache-2.0
"""Find what compiles and is likely a slip: a scope that nothing requires, a grant that holds for no path.

Pure: resources in, findings out. What does not compile is a problem already and is not found again here.
"""

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

from watchword.cli.own_endpoints import is_own_path
from watchword.cli.similar_names import did_you_mean
from watchword.trust import ProtectedService, Resources, TrustedWorkload
from watchword.trust.api.v1alpha1 import Resource
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.grants import USAGE_SCOPES
from watchword.trust.route_templates import template_of
from watchword.trust.routes import RouteLike, names_project

Level = Literal["error", "warning", "note"]
# A capture, which stands for any segment here: none of the gate's own paths has one before its last.
_CAPTURE = re.compile(r"\{[^}]*\}")


class LintFinding(msgspec.Struct, frozen=True):
    """One thing to look at.

    Attributes:
        level: `error`: it does not work as written. `warning`: it does, and is hardly meant. `note`: to know.
        code: which rule, as a stable name.
        kind: of the object.
        namespace: of the object; empty for one that is cluster-scoped.
        name: of the object.
        field: the path of the field.
        detail: what is the case.
        remedy: what would be right.
        source: `file:line`, or the file.
    """

    level: Level
    code: str
    kind: str
    namespace: str
    name: str
    field: str
    detail: str
    remedy: str
    source: str = ""


def findings_of(resources: Resources, now: float) -> Iterator[LintFinding]:
    """Everything that the rules find.

    Args:
        resources: as parsed.
        now: seconds since the epoch.
    """
    services = {(each.metadata.namespace, each.metadata.name): each for each in resources.services}
    held: dict[tuple[str, str], set[str]] = {place: set() for place in services}
    trusting: set[tuple[str, str]] = set()
    for workload in resources.workloads:
        place = (workload.metadata.namespace, workload.spec.service_ref.name)
        service = services.get(place)
        yield from _of_state(workload, now)
        if service is None:
            continue
        trusting.add(place)
        held[place] |= {scope for grant in workload.spec.grants for scope in grant.scopes}
        yield from _of_scopes(workload, service)
        yield from _of_kinds_of_paths(workload, service)
        yield from _of_peers(workload, service)
    for place, service in services.items():
        yield from _of_service(service, held[place], is_trusting=place in trusting)
    for issuer in resources.issuers:
        if issuer.spec.rotation.policy == "Follow":
            yield _found(
                issuer,
                "warning",
                "policy-follow",
                "spec.rotation.policy",
                "the holder of the endpoint decides whose tokens are believed",
                "use Continuity, or Approve where a person is to compare each key",
            )


def scope_warnings(resources: Resources) -> list[str]:
    """Scopes that are likely mistyped, as one line each, for commands that do not lint."""
    return [
        f"{each.kind} {each.namespace}/{each.name}: {each.field}: {each.detail}; {each.remedy}"
        for each in findings_of(resources, 0.0)
        if each.code == "unknown-scope" and each.level == "warning"
    ]


def _of_scopes(workload: TrustedWorkload, service: ProtectedService) -> Iterator[LintFinding]:
    required = {route.scope for route in service.spec.routes if route.scope is not None}
    if not required:
        # The app decides by itself, from /authz: any scope may mean something to it.
        return
    for place, grant in enumerate(workload.spec.grants):
        for index, scope in enumerate(grant.scopes):
            if scope in required or scope in USAGE_SCOPES:
                continue
            near = did_you_mean(scope, required | USAGE_SCOPES)
            yield _found(
                workload,
                "warning" if near else "note",
                "unknown-scope",
                f"spec.grants[{place}].scopes[{index}]",
                f"no route of {service.metadata.name} requires {scope}",
                near or "remove it, unless the app reads it from X-Watchword-Grants",
            )


def _of_kinds_of_paths(workload: TrustedWorkload, service: ProtectedService) -> Iterator[LintFinding]:
    """Grants for projects whose scope is required on no path with a project, and the other way around."""
    routes = [route for route in service.spec.routes if not route.public]
    of_projects = {route.scope for route in routes if names_project(route)}
    of_accounts = {route.scope for route in routes if not names_project(route)} | USAGE_SCOPES
    for place, grant in enumerate(workload.spec.grants):
        if grant.projects and not grant.accounts:
            yield _found(
                workload,
                "warning",
                "grant-never-holds",
                f"spec.grants[{place}].projects",
                "a project is one of an account, and the grant names none, so it never holds",
                'name the accounts, or accounts: ["*"]',
            )
            continue
        for scope in grant.scopes:
            if grant.projects and scope in of_accounts - of_projects:
                yield _found(
                    workload,
                    "warning",
                    "grant-never-holds",
                    f"spec.grants[{place}].projects",
                    f"no path that names a project requires {scope}, so this grant never holds for it",
                    "leave projects out, for the account as a whole",
                )
            elif not grant.projects and scope in of_projects - of_accounts:
                yield _found(
                    workload,
                    "warning",
                    "grant-never-holds",
                    f"spec.grants[{place}]",
                    f"every path that requires {scope} names a project, so this grant never holds for it",
                    'name the projects, or projects: ["*"]',
                )
            elif not grant.accounts and _binds_account(service, scope):
                yield _found(
                    workload,
                    "warning",
                    "grant-never-holds",
                    f"spec.grants[{place}]",
                    f"every path that requires {scope} names an account, so this grant never holds for it",
                    'name the accounts, or accounts: ["*"]',
                )


def _binds_account(service: ProtectedService, scope: str) -> bool:
    routes = [route for route in service.spec.routes if route.scope == scope]
    return bool(routes) and scope not in USAGE_SCOPES and all(map(_names_account, routes))


def _names_account(route: RouteLike) -> bool:
    return "{account}" in route.path or "account" in route.query.values()


def _of_peers(workload: TrustedWorkload, service: ProtectedService) -> Iterator[LintFinding]:
    policy = service.spec.network_policy
    if policy.mode == "Enforce" and not workload.spec.from_ and not policy.allow_from:
        yield _found(
            workload,
            "warning",
            "calls-do-not-arrive",
            "spec.from",
            f"the NetworkPolicy of {service.metadata.name} lets no one in, and this object names no peer: "
            f"where "
            "policies are enforced, its calls do not arrive",
            "name the caller's namespace in spec.from, or set spec.networkPolicy.mode of the service to "
            "Preview",
        )


def _of_state(workload: TrustedWorkload, now: float) -> Iterator[LintFinding]:
    end = None if workload.spec.expires is None else parse_time(workload.spec.expires)
    if end is not None and end <= now:
        remedy = "set a later time, or delete the object"
        yield _found(workload, "warning", "expired", "spec.expires", "its trust has ended", remedy)
    if workload.spec.suspend:
        remedy = "set it to false to trust the workload again"
        yield _found(workload, "note", "suspended", "spec.suspend", "its calls are refused", remedy)
    if not workload.spec.grants:
        detail = "it grants nothing: /authz knows the workload, and every route refuses it"
        yield _found(workload, "note", "no-grants", "spec.grants", detail, "add the scopes that it needs")


def _of_service(service: ProtectedService, held: set[str], *, is_trusting: bool) -> Iterator[LintFinding]:
    routes = service.spec.routes
    templates = [template_of(route.path) for route in routes]
    for later, route in enumerate(routes):
        for earlier in range(later):
            if set(route.methods) <= set(routes[earlier].methods) and _covers(
                templates[earlier], templates[later]
            ):
                yield _found(
                    service,
                    "warning",
                    "route-never-reached",
                    f"spec.routes[{later}]",
                    f"the route {routes[earlier].path} before it takes all of its requests",
                    "write the narrower route first, or remove it",
                )
                break
        if is_own_path(service.spec.usage.base_path, _CAPTURE.sub("any", route.path).encode()):
            yield _of_the_gate(service, later)
        if is_trusting and route.scope is not None and route.scope not in held:
            detail = f"no workload here is granted {route.scope}"
            remedy = "grant it in a TrustedWorkload, or remove the route"
            yield _found(service, "note", "scope-not-granted", f"spec.routes[{later}].scope", detail, remedy)
    if not is_trusting:
        detail = "no TrustedWorkload here names it: no one is let in"
        yield _found(service, "note", "no-callers", "", detail, "add a TrustedWorkload next to it")
    if service.spec.token.binding == "Any":
        detail = "tokens of no pod are accepted: they do not end with a pod"
        remedy = "use Pod, unless callers are no pods"
        yield _found(service, "note", "binding-any", "spec.token.binding", detail, remedy)


def _of_the_gate(service: ProtectedService, place: int) -> LintFinding:
    """A route at a path that the gate answers itself."""
    path = service.spec.routes[place].path
    detail = f"the gate answers {path} itself: behind a gate with --upstream, no request reaches the route"
    remedy = "route another path of the app"
    if not path.startswith("/authz"):
        remedy += ", or give spec.usage.basePath a path that the app does not have"
    return _found(service, "warning", "route-of-the-gate", f"spec.routes[{place}].path", detail, remedy)


def _covers(one: tuple[str | None, ...], other: tuple[str | None, ...]) -> bool:
    return len(one) == len(other) and all(
        # A capture takes any segment but an empty one.
        (wanted is None and found != "") or wanted == found
        for wanted, found in zip(one, other, strict=True)
    )


def _found(resource: Resource, level: Level, code: str, *said: str) -> LintFinding:
    """A finding on a resource; `said` is the field, the detail and the remedy."""
    metadata, kind = resource.metadata, type(resource).__name__
    field, detail, remedy = said
    return LintFinding(
        level, code, kind, metadata.namespace, metadata.name, field, detail, remedy, resource.source
    )
