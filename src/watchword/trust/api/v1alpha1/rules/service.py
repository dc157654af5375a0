# SPDX-License-Identifier: Apache-2.0
"""What the fields of a ProtectedService must agree on.

The quiet mistakes are those to prevent here: a route that nothing ever reaches, a selector that takes in the
whole namespace, an app's port that is the gate's own.
"""

from collections.abc import Iterator
from typing import Final

from watchword.identity import is_service_account_name
from watchword.trust.api.v1alpha1 import Route, ServiceSpec
from watchword.trust.api.v1alpha1.rules.agents import findings_of_ceiling
from watchword.trust.api.v1alpha1.rules.entries import (
    findings_of_breaks,
    findings_of_labels,
    findings_of_name,
    findings_of_repeats,
)
from watchword.trust.api.v1alpha1.rules.peers import findings_of_peers
from watchword.trust.api.v1alpha1.rules.times import TIME_REMEDY, parse_time
from watchword.trust.api.v1alpha1.rules.usage import findings_of_usage
from watchword.trust.api.v1alpha1.validation import Finding
from watchword.trust.derived_audience import is_derived
from watchword.trust.request_headers import REMOVE_HEADER_REMEDY, group_that_never_passes
from watchword.trust.route_templates import REST, Template, covers, flaw_of_template, template_of
from watchword.trust.routes import flaw_of_binding, flaw_of_public

BINDING_REMEDY: Final = "name the project's account too, such as /api/accounts/{account}/projects/{project}"
QUERY_REMEDY: Final = "bind each of account and project once, a project only with its account"
AGENTS_REMEDY: Final = "set tokenDeskRef, or remove agents"
PUBLIC_REMEDY: Final = "give the route a scope, or public: true alone, on a path that is not all paths"


def findings_of_service(spec: ServiceSpec) -> Iterator[Finding]:
    """What a ProtectedService's fields disagree on."""
    yield from findings_of_repeats("spec.audiences", spec.audiences)
    for place, audience in enumerate(spec.audiences):
        if audience != audience.strip() or not audience.isprintable():
            yield (
                f"spec.audiences[{place}]",
                "white space or control characters",
                "write the audience plainly",
            )
        if is_derived(audience):
            yield (
                f"spec.audiences[{place}]",
                "such audiences are derived from a service's place, and cannot be declared",
                "remove it: the service's own, in status.audience, is accepted without being declared",
            )
    yield from findings_of_labels("spec.selector", spec.selector)
    if not spec.selector.match_labels:
        yield (
            "spec.selector.matchLabels",
            "it selects every pod of the namespace",
            "name the service's own labels",
        )
    if not is_service_account_name(spec.service_account_name):
        remedy = "name one ServiceAccount of the service's namespace"
        yield "spec.serviceAccountName", "not the name of a ServiceAccount", remedy
    if spec.port == spec.upstream_port:
        yield "spec.upstreamPort", "it is the gate's own port", "give the app a port of its own"
    yield from _unfit_routes(spec.routes)
    yield from _repeated_routes(spec.routes)
    if spec.limits is not None and spec.limits.burst < spec.limits.requests_per_second:
        yield (
            "spec.limits.burst",
            "it is less than requestsPerSecond",
            "allow at least one second's requests at once",
        )
    yield from _unfit_pass_headers(spec.proxy.pass_headers)
    yield from _findings_of_desk_names(spec)
    yield from findings_of_usage(spec.usage)
    yield from findings_of_peers("spec.networkPolicy.allowFrom", spec.network_policy.allow_from)
    if spec.report_only_until is not None and parse_time(spec.report_only_until) is None:
        yield "spec.reportOnlyUntil", "not a time", TIME_REMEDY


def _findings_of_desk_names(spec: ServiceSpec) -> Iterator[Finding]:
    if spec.token_desk_ref is not None:
        yield from findings_of_name("spec.tokenDeskRef.name", spec.token_desk_ref.name)
    elif spec.resource_servers:
        detail = "resource servers are clients of a desk, and the service names none"
        yield "spec.resourceServers", detail, "set tokenDeskRef, or remove resourceServers"
    if spec.agents is not None:
        if spec.token_desk_ref is None:
            yield "spec.agents", "agents are a desk's, and the service names none", AGENTS_REMEDY
        yield from findings_of_ceiling(spec.agents)
    yield from findings_of_repeats("spec.resourceServers", spec.resource_servers)
    for place, name in enumerate(spec.resource_servers):
        yield from findings_of_name(f"spec.resourceServers[{place}]", name)


def _unfit_routes(routes: tuple[Route, ...]) -> Iterator[Finding]:
    for place, route in enumerate(routes):
        if flaw := flaw_of_template(route.path):
            yield f"spec.routes[{place}].path", flaw, "write a path such as /api/accounts/{account}/usage"
        elif not route.query and (flaw := flaw_of_binding(route.path)):
            yield f"spec.routes[{place}].path", flaw, BINDING_REMEDY
        elif flaw := flaw_of_binding(route.path, route.query):
            yield f"spec.routes[{place}].query", flaw, QUERY_REMEDY
        if flaw := flaw_of_public(route):
            yield f"spec.routes[{place}]", flaw, PUBLIC_REMEDY
        if route.scope is not None:
            yield from findings_of_breaks(f"spec.routes[{place}].scope", [route.scope])
        yield from findings_of_breaks(f"spec.routes[{place}].methods", route.methods)
        if route.purpose is not None:
            yield from findings_of_breaks(f"spec.routes[{place}].purpose", [route.purpose])


def _unfit_pass_headers(names: tuple[str, ...]) -> Iterator[Finding]:
    yield from findings_of_repeats("spec.proxy.passHeaders", tuple(name.lower() for name in names))
    for place, name in enumerate(names):
        if (group := group_that_never_passes(name)) is not None:
            yield (
                f"spec.proxy.passHeaders[{place}]",
                f"{name} never passes ({group.title.replace('`', '').lower()})",
                REMOVE_HEADER_REMEDY,
            )


def _repeated_routes(routes: tuple[Route, ...]) -> Iterator[Finding]:
    # By what they match and not by how they are written: after /a/{name}, nothing ever reaches /a/{account}.
    seen: dict[tuple[str, Template], str] = {}
    rests: list[tuple[str, Template, str]] = []
    for route in routes:
        if flaw_of_template(route.path):
            continue
        template = template_of(route.path)
        for method in route.methods:
            key = (method, template)
            wider = next(
                (path for word, rest, path in rests if word == method and covers(rest, template)), None
            )
            if wider is not None and key not in seen:
                detail = f"{method} {route.path} is never reached (behind {wider})"
                yield "spec.routes", detail, f"put it before {wider}"
            if template[-1] == REST:
                rests.append((method, template, route.path))
            if key in seen:
                detail = f"{method} {route.path} is routed twice (as {seen[key]} before)"
                yield "spec.routes", detail, "keep one: the second would never be used"
            seen.setdefault(key, route.path)
