# SPDX-License-Identifier: Apache-2.0
"""What the fields of one resource must agree on, as findings: the path, what is wrong, what is right.

These are the rules that a CRD states in CEL. A resource that breaks one is left out, never repaired.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Final

from watchword.identity import is_namespace_name, is_service_account_name
from watchword.trust.routes import flaw_of_template, shape_of_template
from watchword.trust.specs import IssuerSpec, Peer, Route, ServiceSpec, WorkloadSpec
from watchword.trust.validation import Finding

# RFC 3339 with a zone. Fractions and a small t are legal there and help nobody here.
_TIME: Final = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(Z|[+-]\d{2}:\d{2})")
_POINTER: Final = re.compile(r"(/([^~/]|~[01])*)*")
_TIME_REMEDY: Final = "use RFC 3339 with a zone, such as 2027-01-01T00:00:00Z"


def parse_time(text: str) -> float | None:
    """Seconds since the epoch of an RFC 3339 time with a zone, or None."""
    if not _TIME.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return None


def findings_of_issuer(spec: IssuerSpec) -> Iterator[Finding]:
    """What a ClusterTrustedIssuer's fields disagree on."""
    sources = [spec.keys.inline, spec.keys.config_map, spec.keys.discovery, spec.keys.cluster]
    given = sum(source is not None for source in sources)
    if given != 1:
        yield (
            "spec.keys",
            f"{given} key sources are given",
            "give exactly one of inline, configMap, discovery, cluster",
        )
    for place, url in enumerate([spec.issuer, *spec.additional_issuers]):
        path = "spec.issuer" if place == 0 else f"spec.additionalIssuers[{place - 1}]"
        if url != url.strip() or not url.isprintable():
            yield (
                path,
                "the URL has white space or control characters",
                "write iss exactly as the tokens say it",
            )
    yield from _repeated("spec.additionalIssuers", [spec.issuer, *spec.additional_issuers])
    if spec.algorithms is not None:
        yield from _repeated("spec.algorithms", spec.algorithms)
    if spec.allowed_namespaces is not None and not spec.allowed_namespaces.match_labels:
        yield (
            "spec.allowedNamespaces.matchLabels",
            "it allows every namespace",
            "name labels, or leave allowedNamespaces out to allow every namespace",
        )
    discovery = spec.keys.discovery
    if discovery is not None:
        url = discovery.jwks_url or spec.issuer
        if not url.startswith("https://"):
            path = "spec.keys.discovery.jwksURL" if discovery.jwks_url else "spec.issuer"
            yield path, "keys are fetched over HTTPS only", "use an https:// URL"
    for place, revocation in enumerate(spec.revoked):
        path = f"spec.revoked[{place}]"
        values = [
            revocation.token_id,
            revocation.pod_uid,
            revocation.service_account_uid,
            revocation.issued_before,
        ]
        if sum(bool(value) for value in values) != 1:
            remedy = "give exactly one of tokenId, podUid, serviceAccountUid, issuedBefore"
            yield path, "a revocation names one thing", remedy
        if revocation.issued_before is not None and parse_time(revocation.issued_before) is None:
            yield f"{path}.issuedBefore", "not a time", _TIME_REMEDY


def findings_of_service(spec: ServiceSpec) -> Iterator[Finding]:
    """What a ProtectedService's fields disagree on."""
    yield from _repeated("spec.audiences", spec.audiences)
    for place, audience in enumerate(spec.audiences):
        if audience != audience.strip() or not audience.isprintable():
            yield (
                f"spec.audiences[{place}]",
                "white space or control characters",
                "write the audience plainly",
            )
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
        yield from _broken(f"spec.routes[{place}].scope", [route.scope])
        yield from _broken(f"spec.routes[{place}].methods", route.methods)
    yield from _repeated_routes(spec.routes)
    if spec.limits is not None and spec.limits.burst < spec.limits.requests_per_second:
        yield (
            "spec.limits.burst",
            "it is less than requestsPerSecond",
            "allow at least one second's requests at once",
        )
    yield from _findings_of_usage(spec)
    yield from _findings_of_peers("spec.networkPolicy.allowFrom", spec.network_policy.allow_from)


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


def _findings_of_usage(spec: ServiceSpec) -> Iterator[Finding]:
    yield from _repeated("spec.usage.meters", [meter.name for meter in spec.usage.meters])
    yield from _broken("spec.usage.meters", [meter.name for meter in spec.usage.meters])
    for place, meter in enumerate(spec.usage.meters):
        path = f"spec.usage.meters[{place}].value"
        if meter.aggregation != "count" and meter.value is None:
            yield (
                path,
                f"{meter.aggregation} needs a value",
                "give a JSON pointer into the data, such as /bytes",
            )
        if meter.aggregation == "count" and meter.value is not None:
            yield path, "count takes no value", "leave value out, or use sum"
        if meter.value is not None and not _POINTER.fullmatch(meter.value):
            yield path, "not a JSON pointer (RFC 6901)", "start it with a slash, such as /bytes"
    base_flaw = flaw_of_template(spec.usage.base_path)
    if base_flaw or spec.usage.base_path.endswith("/") or "{" in spec.usage.base_path:
        yield "spec.usage.basePath", base_flaw or "not a plain path", "use a path such as /api/internal"


def findings_of_workload(spec: WorkloadSpec) -> Iterator[Finding]:
    """What a TrustedWorkload's fields disagree on."""
    account = spec.service_account
    if not is_namespace_name(account.namespace):
        remedy = "name one namespace, whole; patterns are not supported"
        yield "spec.serviceAccount.namespace", "not the name of a namespace", remedy
    if not is_service_account_name(account.name):
        remedy = "name one ServiceAccount, whole; patterns are not supported"
        yield "spec.serviceAccount.name", "not the name of a ServiceAccount", remedy
    for place, grant in enumerate(spec.grants):
        yield from _broken(f"spec.grants[{place}].scopes", grant.scopes)
        for field, holders in (("accounts", grant.accounts), ("projects", grant.projects)):
            path = f"spec.grants[{place}].{field}"
            yield from _repeated(path, holders)
            for holder in holders:
                if holder != "*" and ("*" in holder or not holder.isprintable()):
                    yield (
                        path,
                        f"{holder!r} is a pattern or not printable",
                        'use whole names, or "*" alone for all',
                    )
                if "," in holder:
                    yield (
                        path,
                        f"{holder!r} holds a comma",
                        "use a name without commas: identity headers list names",
                    )
            if "*" in holders and len(holders) > 1:
                yield path, '"*" stands beside names', 'use "*" alone, or only names'
    if spec.expires is not None and parse_time(spec.expires) is None:
        yield "spec.expires", "not a time", _TIME_REMEDY
    yield from _findings_of_peers("spec.from", spec.from_)


def _findings_of_peers(path: str, peers: tuple[Peer, ...]) -> Iterator[Finding]:
    for place, peer in enumerate(peers):
        where = f"{path}[{place}]"
        if peer.ip_block is None:
            if peer.namespace_selector is None and peer.pod_selector is None:
                yield where, "the peer is empty", "give ipBlock, or namespaceSelector and podSelector"
            continue
        if peer.namespace_selector is not None or peer.pod_selector is not None:
            yield where, "ipBlock stands beside selectors", "use one or the other"
        try:
            network = ipaddress.ip_network(peer.ip_block.cidr)
            inner = [ipaddress.ip_network(each) for each in peer.ip_block.except_]
        except ValueError:
            yield (
                f"{where}.ipBlock",
                "not a CIDR, or one with host bits set",
                "use a network such as 10.20.0.0/16",
            )
            continue
        if any(each.version != network.version or not each.subnet_of(network) for each in inner):  # type: ignore[arg-type]  # same version, just compared
            yield f"{where}.ipBlock.except", "not inside cidr", "list networks within cidr only"


def _repeated(path: str, values: Iterable[str]) -> Iterator[Finding]:
    for value in _twice(values):
        yield path, f"{value!r} stands there twice", "keep one"


def _broken(path: str, values: Iterable[str]) -> Iterator[Finding]:
    # `$` ends a pattern before a last line break too in Python, though not in the API server's RE2.
    for value in values:
        if not value.isprintable():
            yield path, f"{value!r} holds a line break", "remove it"


def _twice(values: Iterable[str]) -> list[str]:
    return [value for value, times in Counter(values).items() if times > 1]
