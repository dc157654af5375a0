# SPDX-License-Identifier: Apache-2.0
"""What the fields of a ProtectedService must agree on.

The quiet mistakes are those to prevent here: a route that nothing ever reaches, a selector that takes in the
whole namespace, an app's port that is the gate's own.
"""

from collections.abc import Iterator

from watchword.identity import is_service_account_name
from watchword.trust.routes import flaw_of_template, shape_of_template
from watchword.trust.rules.entries import findings_of_breaks, findings_of_labels, findings_of_repeats
from watchword.trust.rules.peers import findings_of_peers
from watchword.trust.rules.usage import findings_of_usage
from watchword.trust.specs import Route, ServiceSpec
from watchword.trust.validation import Finding


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
    for place, route in enumerate(spec.routes):
        if flaw := flaw_of_template(route.path):
            yield f"spec.routes[{place}].path", flaw, "write a path such as /api/accounts/{account}/usage"
        yield from findings_of_breaks(f"spec.routes[{place}].scope", [route.scope])
        yield from findings_of_breaks(f"spec.routes[{place}].methods", route.methods)
    yield from _repeated_routes(spec.routes)
    if spec.limits is not None and spec.limits.burst < spec.limits.requests_per_second:
        yield (
            "spec.limits.burst",
            "it is less than requestsPerSecond",
            "allow at least one second's requests at once",
        )
    yield from findings_of_usage(spec.usage)
    yield from findings_of_peers("spec.networkPolicy.allowFrom", spec.network_policy.allow_from)


def _repeated_routes(routes: tuple[Route, ...]) -> Iterator[Finding]:
    # By what they match and not by how they are written: after /a/{name}, nothing ever reaches /a/{account}.
    seen: dict[tuple[str, tuple[str | None, ...]], str] = {}
    for route in routes:
        if flaw_of_template(route.path):
            continue
        for method in route.methods:
            key = (method, shape_of_template(route.path))
            if key in seen:
                detail = f"{method} {route.path} is routed twice (as {seen[key]} before)"
                yield "spec.routes", detail, "keep one: the second would never be used"
            seen.setdefault(key, route.path)
