# SPDX-License-Identifier: Apache-2.0
"""Objects that are refused at admission: one for each rule in CEL, for each kind of bound, and good ones.

The same tables are asked of a real API server and of the parser of manifests: they are to agree.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from testing.manifests import issuer, service, workload
from tests.trust import admission_agents, admission_desk, admission_providers

Object = dict[str, Any]
THUMBPRINT = "A" * 43
ROUTE = {"path": "/a", "methods": ["GET"], "scope": "a:b"}
METER = {"name": "m", "eventType": "e", "aggregation": "count"}
SPLIT = {"name": "region", "value": "/region"}
DISCOVERY = {"jwksURL": "https://keys.example/jwks"}
CERTIFICATE = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
LONE_KEY = {"kty": "RSA", "kid": "k", "n": "n", "e": "AQAB"}


class Refused(NamedTuple):
    """What one rule refuses: the rule by its place and detail, the field that is named, the object."""

    place: str
    detail: str
    field: str
    object: Object


class Bounded(NamedTuple):
    """What one bound refuses: the field, a part of the API server's own words, the object."""

    field: str
    words: str
    object: Object


def peer(**members: Any) -> Object:
    """A TrustedWorkload with one peer."""
    return workload(**{"from": [members]})


def grant(**members: Any) -> Object:
    """A TrustedWorkload with one grant."""
    return workload(grants=[{"scopes": ["a:b"]} | members])


def route(path: str) -> Object:
    """A ProtectedService with one route."""
    return service(routes=[ROUTE | {"path": path}])


def routed(**members: Any) -> Object:
    """A ProtectedService with one route; None leaves a member of it out."""
    made = {name: value for name, value in (ROUTE | members).items() if value is not None}
    return service(routes=[made])


def names(number: int, length: int, start: str = "n") -> list[str]:
    """So many different names of a length."""
    return [f"{start}{place:04}".ljust(length, "x") for place in range(number)]


def labelled(peers: int, length: int) -> list[Object]:
    """Peers with sixteen labels each, in one selector."""
    labels = dict.fromkeys(names(16, length), "")
    return [{"podSelector": {"matchLabels": labels}} for _ in range(peers)]


# One character too much, in one list, in several, and in several grants; then exactly as much as may be.
LARGE_GRANTS: list[list[Object]] = [
    [{"scopes": ["a:b"], "accounts": [*names(399, 100), "y" * 98]}],
    [{"scopes": ["a:b"], "projects": [*names(399, 100), "y" * 98]}],
    [{"scopes": ["a:b"], "accounts": names(200, 100), "projects": names(200, 100)}],
    [{"scopes": ["a:b"], "accounts": names(20, 100, f"g{each}-")} for each in range(20)],
]
LARGEST_GRANTS: list[Object] = [{"scopes": ["a:b"], "accounts": [*names(399, 100), "y" * 97]}]
LARGE_PEERS: list[list[Object]] = [
    [*labelled(25, 50), {"podSelector": {"matchLabels": {"a": ""}}}],
    [{"namespaceSelector": {"matchLabels": dict.fromkeys(names(16, 30), "v" * 50)}} for _ in range(16)],
]


def meter(**members: Any) -> Object:
    """A ProtectedService with one meter."""
    return service(usage={"meters": [METER | members]})


def passing(*names: str) -> Object:
    """A ProtectedService that lets request headers through."""
    return service(proxy={"passHeaders": list(names)})


def account(namespace: str = "a", name: str = "b") -> Object:
    """A TrustedWorkload for one ServiceAccount."""
    return workload(serviceAccount={"namespace": namespace, "name": name})


def fetched(**members: Any) -> Object:
    """A ClusterTrustedIssuer with fetched keys."""
    return issuer(keys={"discovery": DISCOVERY | members})


def referred(**members: str) -> Object:
    """A ClusterTrustedIssuer with a credential from a Secret."""
    return fetched(credentialSecretRef={"namespace": "a", "name": "b"} | members)


def in_config_map(**members: str) -> Object:
    """A ClusterTrustedIssuer with keys from a ConfigMap."""
    return issuer(keys={"configMap": {"namespace": "a", "name": "b"} | members})


def revoked(**members: str) -> Object:
    """A ClusterTrustedIssuer with one revocation."""
    return issuer(revoked=[members])


def named(document: Object, name: str) -> Object:
    """The same object under another name."""
    return document | {"metadata": document["metadata"] | {"name": name}}


_KEYS = "spec.keys"
_PLAIN = "it holds a control character, such as a line break"
_NEVER_PASSED = "an identity, credential, connection or framing header never passes"
_CIDR = "not a CIDR, or one with host bits set"
_HOLDER = "a pattern, a comma, or a character that does not print"
_BLOCK = "spec.from[0].ipBlock"


def _without_audiences() -> Object:
    """A service that leaves its audiences out: null is no list."""
    made = service()
    del made["spec"]["audiences"]
    return made


REFUSED: tuple[Refused, ...] = (
    Refused("LabelSelector.matchLabels", "not labels", "spec.selector.matchLabels",
            service(selector={"matchLabels": {"app": "a b"}})),
    Refused("LabelSelector.matchLabels", "not labels", "spec.allowedNamespaces.matchLabels",
            issuer(allowedNamespaces={"matchLabels": {"team/": "x"}})),
    Refused("LabelSelector.matchLabels", "not labels", "spec.from[0].podSelector.matchLabels",
            peer(podSelector={"matchLabels": {"Example.com/app": "x"}})),
    Refused("ServiceName.name", "not the name of an object", "spec.serviceRef.name",
            workload(serviceRef={"name": "Tuist"})),
    Refused("IssuerName.name", "not the name of an object", "spec.issuerRef.name",
            workload(issuerRef={"name": "https://x"})),
    Refused("Peer", "the peer is empty", "spec.from[0]", peer()),
    Refused("Peer", "the peer is empty", "spec.networkPolicy.allowFrom[0]",
            service(networkPolicy={"allowFrom": [{}]})),
    Refused("Peer", "ipBlock is given together with selectors", "spec.from[0]",
            peer(ipBlock={"cidr": "10.0.0.0/8"}, podSelector={"matchLabels": {}})),
    *(Refused("IpBlock.cidr", _CIDR, f"{_BLOCK}.cidr", peer(ipBlock={"cidr": cidr}))
      for cidr in ("10.0.0.1/8", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/255.0.0.0", "10.0.0.0/08", "x/8",
                   "010.0.0.0/8", "fe80::%eth0/64", "::ffff:10.0.0.0/104", "2001:db8::1/32", "10.0.0.0/8\n")),
    Refused("IpBlock.except[]", _CIDR, f"{_BLOCK}.except[0]",
            peer(ipBlock={"cidr": "10.0.0.0/8", "except": ["10.1.0.1/16"]})),
    *(Refused("IpBlock", "an exception is not inside cidr", f"{_BLOCK}.except",
              peer(ipBlock={"cidr": "10.0.0.0/8", "except": [inner]}))
      for inner in ("11.0.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/64")),
    Refused("IssuerSpec.issuer", "the URL has white space or control characters", "spec.issuer",
            issuer(issuer="https://a b")),
    Refused("IssuerSpec.additionalIssuers[]", "the URL has white space or control characters",
            "spec.additionalIssuers[0]", issuer(additionalIssuers=["https://a\n"])),
    Refused("IssuerSpec", "additionalIssuers repeats the issuer", "spec.additionalIssuers",
            issuer(issuer="https://a", additionalIssuers=["https://a"])),
    Refused("KeySource", "not exactly one key source is given", _KEYS, issuer(keys={})),
    Refused("KeySource", "not exactly one key source is given", _KEYS,
            issuer(keys={"inline": {"keys": []}, "cluster": {}})),
    *(Refused("KeySource.inline.keys[]", "the key holds private or secret material",
              f"{_KEYS}.inline.keys[0]", issuer(keys={"inline": {"keys": [LONE_KEY | {member: "x"}]}}))
      for member in ("d", "p", "q", "dp", "dq", "qi", "k")),
    # As kubectl and Helm read a key whose members are not quoted.
    Refused("KeySource.inline.keys[]", "an RSA key without n or e", f"{_KEYS}.inline.keys[0]",
            issuer(keys={"inline": {"keys": [{"kty": "RSA", "kid": "k", "false": "n", "e": "AQAB"}]}})),
    Refused("KeySource.inline.keys[]", "an RSA key without n or e", f"{_KEYS}.inline.keys[0]",
            issuer(keys={"inline": {"keys": [{"kty": "RSA", "kid": "k", "n": "n"}]}})),
    Refused("KeySource.inline.keys[]", "an EC key without x or y", f"{_KEYS}.inline.keys[0]",
            issuer(keys={"inline": {"keys": [{"kty": "EC", "kid": "k", "x": "x", "true": "y"}]}})),
    Refused("ConfigMapKeys.namespace", "not the name of a namespace", f"{_KEYS}.configMap.namespace",
            in_config_map(namespace="a.b")),
    Refused("ConfigMapKeys.name", "not the name of an object", f"{_KEYS}.configMap.name",
            in_config_map(name="A")),
    Refused("ConfigMapKeys.key", "not the name of an entry", f"{_KEYS}.configMap.key",
            in_config_map(key="../jwks.json")),
    Refused("SecretKey.namespace", "not the name of a namespace",
            f"{_KEYS}.discovery.credentialSecretRef.namespace", referred(namespace="*")),
    Refused("SecretKey.name", "not the name of an object", f"{_KEYS}.discovery.credentialSecretRef.name",
            referred(name="a/b")),
    Refused("SecretKey.key", "not the name of an entry", f"{_KEYS}.discovery.credentialSecretRef.key",
            referred(key="..")),
    *(Refused("DiscoveryKeys.jwksURL", "keys are fetched over HTTPS only", f"{_KEYS}.discovery.jwksURL",
              fetched(jwksURL=url))
      for url in ("http://keys.example/jwks", "https://", "https:///jwks", "https://u:p@keys.example/",
                  "https://keys.example/#x", "file:///etc/jwks", "https://a\\b/", "HTTPS://keys.example")),
    Refused("IssuerSpec", "keys are fetched over HTTPS only", "spec.issuer",
            issuer(issuer="http://x", keys={"discovery": {}})),
    Refused("DiscoveryKeys.caBundle", "no certificate, or more than certificates",
            f"{_KEYS}.discovery.caBundle", fetched(caBundle="x")),
    Refused("DiscoveryKeys.caBundle", "no certificate, or more than certificates",
            f"{_KEYS}.discovery.caBundle", fetched(caBundle=CERTIFICATE + "-----BEGIN RSA PRIVATE KEY-----")),
    Refused("IssuerSpec", "Pin trusts approved keys only, and none is approved", "spec.rotation.approved",
            issuer(keys={"cluster": {}}, rotation={"policy": "Pin"})),
    Refused("Rotation.approved[]", "not a thumbprint", "spec.rotation.approved[0]",
            issuer(rotation={"approved": ["+" * 43]})),
    Refused("IssuerSpec.allowedNamespaces", "it allows every namespace",
            "spec.allowedNamespaces.matchLabels", issuer(allowedNamespaces={"matchLabels": {}})),
    Refused("Revocation", "a revocation names one thing", "spec.revoked[0]", revoked()),
    Refused("Revocation", "a revocation names one thing", "spec.revoked[0]",
            revoked(tokenId="a", podUid="b")),
    Refused("Revocation.tokenId", _PLAIN, "spec.revoked[0].tokenId", revoked(tokenId="a\n")),
    Refused("Revocation.podUid", _PLAIN, "spec.revoked[0].podUid", revoked(podUid="a\x7f")),
    Refused("Revocation.serviceAccountUid", _PLAIN, "spec.revoked[0].serviceAccountUid",
            revoked(serviceAccountUid="a\u2028")),
    *(Refused("Revocation.issuedBefore", "not a time", "spec.revoked[0].issuedBefore",
              revoked(issuedBefore=time)) for time in ("2027-01-01", "2027-02-30T00:00:00Z")),
    Refused("Revocation.keyThumbprint", "not a thumbprint", "spec.revoked[0].keyThumbprint",
            revoked(keyThumbprint="=" * 43)),
    Refused("ProtectedService", "the name has more than 63 characters", "", named(service(), "s" * 64)),
    *(Refused("ServiceSpec.audiences[]", "white space or control characters", "spec.audiences[0]",
              service(audiences=[audience])) for audience in (" a", "a ", "a\tb", "a\u200bb", "a\u00a0b")),
    *(Refused("ServiceSpec.audiences[]",
              "such audiences are derived from a service's place, and cannot be declared",
              "spec.audiences[0]", service(audiences=[audience]))
      for audience in ("watchword.dev/", "watchword.dev/services/a/b/c", "WatchWord.Dev/x")),
    Refused("ServiceSpec.selector", "it selects every pod of the namespace", "spec.selector.matchLabels",
            service(selector={"matchLabels": {}})),
    Refused("ServiceSpec.serviceAccountName", "not the name of a ServiceAccount", "spec.serviceAccountName",
            service(serviceAccountName="system:anonymous")),
    Refused("ServiceSpec", "it is the gate's own port", "spec.upstreamPort", service(upstreamPort=8443)),
    *(Refused("Route.path", "not a path of whole segments", "spec.routes[0].path", route(path))
      for path in ("a", "/a//b", "/x{account}", "/{Account}", "/{account}x/y", "/{", "/{a}{b}")),
    *(Refused("Route.path", "two parsers could read the path differently", "spec.routes[0].path", route(path))
      for path in ("/a/../b", "/.", "/%2e%2E/a", "/a%2fb", "/a%5Cb", "/a%00", "/a%", "/a%2", "/a%zz", "/a%2x",
                   "/a;b", "/a?b", "/a#b", "/a\\b", "/a%25", "/a%7B")),
    Refused("Route.path", "a capture is named twice", "spec.routes[0].path", route("/{account}/x/{account}")),
    *(Refused("Route", "it binds {project} without {account}", "spec.routes[0].path", route(path))
      for path in ("/{project}", "/a/{project}/{name}", "/{accounts}/{project}")),
    Refused("Route.path", _PLAIN, "spec.routes[0].path", route("/a\u2029")),
    *(Refused("Route.path", "it would take more than one segment for account or project",
              "spec.routes[0].path", route(path)) for path in ("/{account...}", "/a/{account}/{project...}")),
    *(Refused("Route", "a route needs a scope, or public: true, and never both", "spec.routes[0]",
              routed(**{"scope": None} | members))
      for members in ({}, {"public": False}, {"public": True, "scope": "a:b"})),
    *(Refused("Route", "a public route is not all paths, has no purpose, and binds nothing from the query",
              "spec.routes[0]",
              routed(**{"scope": None, "public": True} | members))
      for members in ({"path": "/{path...}"}, {"path": "/{all...}"}, {"query": {"t": "account"}},
                      {"purpose": "cache-read"})),
    *(Refused("Route.query",
              "a parameter's name is not letters, digits, `_` and `-`, beginning with a letter",
              "spec.routes[0].query", routed(query={name: "account"}))
      for name in ("tenant.id", "tenant id", "tenant[id]", "1", "_a", "a+b", "é", "a" * 63 + ".")),
    *(Refused("Route", "account or project is bound twice", "spec.routes[0].query", routed(**members))
      for members in ({"query": {"a": "account", "b": "account?"}},
                      {"path": "/{account}", "query": {"a": "account"}},
                      {"path": "/{account}/{project}", "query": {"a": "project?"}})),
    *(Refused("Route", "it binds a project without an account, or with one that may be missing",
              "spec.routes[0].query", routed(**members))
      for members in ({"query": {"a": "project"}}, {"query": {"a": "project?", "b": "account?"}},
                      {"path": "/{project}", "query": {"a": "account?"}})),
    Refused("Limits", "it is less than requestsPerSecond", "spec.limits.burst",
            service(limits={"requestsPerSecond": 5, "burst": 4})),
    *(Refused("ProxyRules.passHeaders[]", _NEVER_PASSED, "spec.proxy.passHeaders[0]", passing(name))
      for name in ("X-Watchword-Subject", "x-forwarded-USER", "Authorization", "Transfer-Encoding",
                   "Connection", "X-Client-Cert", "Impersonate-Extra-a", "Content-Length",
                   "X-Forwarded-For", "Proxy")),
    Refused("MeterSpec.eventType", _PLAIN, "spec.usage.meters[0].eventType", meter(eventType="a\u0085")),
    Refused("MeterSpec", "this aggregation needs a value", "spec.usage.meters[0].value",
            meter(aggregation="sum")),
    Refused("MeterSpec", "count takes no value", "spec.usage.meters[0].value", meter(value="/a")),
    Refused("MeterSpec.value", "not a JSON pointer (RFC 6901)", "spec.usage.meters[0].value",
            meter(aggregation="sum", value="bytes")),
    Refused("MeterSpec.value", "not a JSON pointer (RFC 6901)", "spec.usage.meters[0].value",
            meter(aggregation="sum", value="/a~2")),
    Refused("MeterSpec.value", _PLAIN, "spec.usage.meters[0].value",
            meter(aggregation="sum", value="/a\n")),
    Refused("MeterSpec", "unique_count has more than one dimension", "spec.usage.meters[0].groupBy",
            meter(aggregation="unique_count", value="/a", groupBy=[SPLIT, SPLIT | {"name": "b"}])),
    Refused("MeterSpec.unit", "white space or control characters", "spec.usage.meters[0].unit",
            meter(unit="byt\u202ees")),
    *(Refused("DimensionSpec.name", "answers use this name themselves",
              "spec.usage.meters[0].groupBy[0].name", meter(groupBy=[SPLIT | {"name": name}]))
      for name in ("meter", "value", "overflow")),
    Refused("DimensionSpec.value", "not a JSON pointer (RFC 6901)", "spec.usage.meters[0].groupBy[0].value",
            meter(groupBy=[SPLIT | {"value": "$.region'); DROP TABLE event; --"}])),
    Refused("DimensionSpec.value", _PLAIN, "spec.usage.meters[0].groupBy[0].value",
            meter(groupBy=[SPLIT | {"value": "/a\n"}])),
    Refused("UsageRules", "it is more than eventRetentionDays", "spec.usage.lateDays",
            service(usage={"lateDays": 31, "eventRetentionDays": 30})),
    *(Refused("UsageRules.basePath", "not a plain path", "spec.usage.basePath",
              service(usage={"basePath": path}))
      for path in ("/api/", "api", "/{account}", "/a/../b", "/a%2F")),
    Refused("UsageRules.basePath", _PLAIN, "spec.usage.basePath",
            service(usage={"basePath": "/a\u2028"})),
    *(Refused("ServiceAccountName.namespace", "not the name of a namespace", "spec.serviceAccount.namespace",
              account(namespace=name)) for name in ("*", "a-*", "a.b", "A", "a:b")),
    *(Refused("ServiceAccountName.name", "not the name of a ServiceAccount", "spec.serviceAccount.name",
              account(name=name)) for name in ("*", "b*", "B", "b/c", "b:c", "b\n")),
    *(Refused(f"GrantSpec.{field}[]", _HOLDER, f"spec.grants[0].{field}[0]", grant(**{field: [holder]}))
      for field in ("accounts", "projects") for holder in ("acme*", "**", "a,b", "a\n", "a\u200b")),
    *(Refused(f"GrantSpec.{field}", '"*" is given together with names', f"spec.grants[0].{field}",
              grant(**{field: names}))
      for field, names in (("accounts", ["*", "acme"]), ("projects", ["acme", "*"]))),
    *(Refused("WorkloadSpec", "its scopes, accounts and projects have more than 40000 characters in all",
              "spec.grants",
              workload(grants=grants)) for grants in LARGE_GRANTS),
    *(Refused("WorkloadSpec", "its labels and networks have more than 20000 characters in all", "spec.from",
              workload(**{"from": peers})) for peers in LARGE_PEERS),
    *(Refused("WorkloadSpec.expires", "not a time", "spec.expires", workload(expires=time))
      for time in ("2027-01-01", "2027-01-01T00:00:00", "2027-13-01T00:00:00Z", "2027-02-29T00:00:00Z",
                   "2027-01-01T24:00:00Z", "9999-12-31T23:59:59-14:00", "2027-01-01T00:00:60Z",
                   "0000-01-01T00:00:00Z", "tomorrow",
                   "2027-01-01T00:00:00+24:00", "2027-01-01t00:00:00z", "2027-01-01T00:00:00.5Z")),
    *(Refused("ServiceSpec.reportOnlyUntil", "not a time", "spec.reportOnlyUntil",
              service(reportOnlyUntil=time))
      for time in ("2027-01-01", "2027-01-01T00:00:00", "tomorrow", "", "2027-01-01T00:00:00.5Z")),
    *(Refused(*each) for each in admission_desk.REFUSED),
    *(Refused(*each) for each in admission_agents.REFUSED),
    *(Refused(*each) for each in admission_providers.REFUSED),
)  # fmt: skip

BOUNDED: tuple[Bounded, ...] = (
    Bounded("spec.issuer", "Required value", issuer(issuer=None)),
    Bounded("spec.audiences", "should have at least 1 items", service(audiences=[])),
    Bounded("spec.audiences", "must have at most 16 items", service(audiences=[f"a{n}" for n in range(17)])),
    Bounded("spec.audiences[1]", "Duplicate value", service(audiences=["a", "a"])),
    Bounded("spec.audiences[0]", "should be at least 1 chars long", service(audiences=[""])),
    Bounded("spec.audiences[0]", "may not be more than 256", service(audiences=["a" * 257])),
    Bounded("spec.audiences", "must be of type array", service(audiences="a")),
    Bounded("spec.selector.matchLabels", "must have at most 16 items",
            service(selector={"matchLabels": {f"l{n}": "x" for n in range(17)}})),
    Bounded("spec.port", "greater than or equal to 1", service(port=0)),
    Bounded("spec.port", "less than or equal to 65535", service(port=65536)),
    Bounded("spec.port", "must be of type integer", service(port="8443")),
    Bounded("spec.token.maxLifetimeSeconds", "less than or equal to 86400",
            service(token={"maxLifetimeSeconds": 86_401})),
    Bounded("spec.token.maxLifetimeSeconds", "greater than or equal to 60",
            service(token={"maxLifetimeSeconds": 59})),
    Bounded("spec.token.clockSkewSeconds", "less than or equal to 300",
            service(token={"clockSkewSeconds": 301})),
    Bounded("spec.token.binding", 'supported values: "Any", "Pod"', service(token={"binding": "pod"})),
    Bounded("spec.token.maxLifetime", "unknown field", service(token={"maxLifetime": "1h"})),
    Bounded("spec.proxy.passHeaders", "must have at most 16 items", passing(*(f"X-A{n}" for n in range(17)))),
    Bounded("spec.proxy.passHeaders[0]", "should match", passing("X_Original_URL")),
    Bounded("spec.proxy.passHeaders[0]", "should match", passing("X-A:")),
    Bounded("spec.proxy.passHeaders[0]", "should match", passing("*")),
    Bounded("spec.proxy.passHeaders[0]", "should be at least 1 chars long", passing("")),
    Bounded("spec.proxy.passHeaders[0]", "may not be more than 64", passing("X" * 65)),
    Bounded("spec.proxy.passHeaders[1]", "Duplicate value", passing("X-A", "X-A")),
    Bounded("spec.audience", "unknown field", service(audience=["a"])),
    Bounded("spec.routes[0].scope", "should match", service(routes=[ROUTE | {"scope": "a"}])),
    Bounded("spec.routes[0].scope", "should match", service(routes=[ROUTE | {"scope": "a:b\n"}])),
    Bounded("spec.routes[0].methods[0]", "should match", service(routes=[ROUTE | {"methods": ["get"]}])),
    Bounded("spec.routes[0].methods[1]", "Duplicate value",
            service(routes=[ROUTE | {"methods": ["A", "A"]}])),
    Bounded("spec.token.header", "Unsupported value", service(token={"header": "X-Token"})),
    Bounded("spec.routes[0].query", "Unsupported value", routed(query={"t": "tenant"})),
    Bounded("spec.routes[0].query", "must have at most 2 items",
            routed(query={"a": "account", "b": "project", "c": "project?"})),
    Bounded("spec.routes", "must have at most 1000 items", service(routes=[ROUTE] * 1001)),
    Bounded("spec.usage.meters[1]", "Duplicate value", service(usage={"meters": [METER, METER]})),
    Bounded("spec.networkPolicy.mode", "Unsupported value", service(networkPolicy={"mode": "enforce"})),
    Bounded("spec.algorithms[0]", "Unsupported value", issuer(algorithms=["none"])),
    Bounded("spec.algorithms[0]", "Unsupported value", issuer(algorithms=["HS256"])),
    Bounded("spec.algorithms[0]", "Unsupported value", issuer(algorithms=["PS256"])),
    Bounded("spec.algorithms[1]", "Duplicate value", issuer(algorithms=["RS256", "RS256"])),
    Bounded("spec.keys.discovery.intervalSeconds", "greater than or equal to 30", fetched(intervalSeconds=1)),
    Bounded("spec.rotation.policy", "Unsupported value", issuer(rotation={"policy": "Trust"})),
    Bounded("spec.rotation.approved[0]", "at least 43", issuer(rotation={"approved": ["A"]})),
    Bounded("spec.rotation.retireAfterSeconds", "less than or equal to 2592000",
            issuer(rotation={"retireAfterSeconds": 2_592_001})),
    Bounded("spec.rotation.approveWithinSeconds", "greater than or equal to 60",
            issuer(rotation={"approveWithinSeconds": 0})),
    Bounded("spec.revoked", "must have at most 1000 items", issuer(revoked=[{"tokenId": "a"}] * 1001)),
    Bounded("spec.serviceAccount.name", "Required value", workload(serviceAccount={"namespace": "a"})),
    Bounded("spec.serviceRef.namespace", "unknown field",
            workload(serviceRef={"name": "s", "namespace": "other"})),
    Bounded("spec.grants[0].scopes", "should have at least 1 items", workload(grants=[{"scopes": []}])),
    Bounded("spec.grants[0].scopes[1]", "Duplicate value", grant(scopes=["a:b", "a:b"])),
    Bounded("spec.grants[0].accounts", "should have at least 1 items", grant(accounts=[])),
    Bounded("spec.grants[0].projects", "should have at least 1 items", grant(projects=[])),
    Bounded("spec.grants[0].accounts[1]", "Duplicate value", grant(accounts=["a", "a"])),
    Bounded("spec.suspend", "must be of type boolean", workload(suspend="no")),
    Bounded("spec.from[0].ipBlock.except", "must have at most 16 items",
            peer(ipBlock={"cidr": "10.0.0.0/8", "except": [f"10.{n}.0.0/16" for n in range(17)]})),
    *(Bounded(*each) for each in admission_desk.BOUNDED),
    *(Bounded(*each) for each in admission_agents.BOUNDED),
    *(Bounded(*each) for each in admission_providers.BOUNDED),
)  # fmt: skip


def _grants(count: int, holders: int) -> list[Object]:
    names = [f"{n}-".ljust(120, "x") for n in range(holders)]
    return [
        {"scopes": [f"s{n}:a{g}" for n in range(64)], "accounts": names, "projects": names}
        for g in range(count)
    ]


ACCEPTED: dict[str, Object] = {
    "an issuer": issuer(),
    "a service": service(),
    "a workload": workload(),
    "a workload as large as may be": workload(grants=LARGEST_GRANTS, **{"from": labelled(25, 50)}),
    "an issuer with all that it can say": issuer(
        keys={"discovery": DISCOVERY | {
            "caBundle": CERTIFICATE, "intervalSeconds": 30,
            "credentialSecretRef": {"namespace": "a", "name": "b.c", "key": ".token"}}},
        additionalIssuers=["https://b", "kubernetes/serviceaccount"],
        algorithms=["ES512", "RS256"],
        rotation={"policy": "Pin", "approved": [THUMBPRINT, "_" * 43], "approveWithinSeconds": 60,
                  "retireAfterSeconds": 0},
        allowedNamespaces={"matchLabels": {"kubernetes.io/metadata.name": "a"}},
        revoked=[{"tokenId": "a"}, {"podUid": "b"}, {"serviceAccountUid": "c"},
                 {"issuedBefore": "2024-02-29T23:59:59-23:59"}, {"keyThumbprint": THUMBPRINT}]),
    "an issuer by discovery": issuer(issuer="https://oidc.example:6443/id?x=1", keys={"discovery": {}}),
    "an issuer of this cluster": issuer(keys={"cluster": {}}),
    "an issuer by ConfigMap": in_config_map(key="jwks"),
    "an issuer that pins what is written": issuer(rotation={"policy": "Pin"}),
    "a service without audiences": _without_audiences(),
    "a service with audiences that only look derived": service(
        audiences=["watchword.dev", "watchword_dev/x", "https://watchword.dev/x", "xwatchword.dev/x"]),
    "a service with all that it can say": service(
        audiences=["a", "https://b/ c"], serviceAccountName="tuist.server",
        proxy={"passHeaders": ["X-HTTP-Method-Override", "x-original-url", "Forwarded", "baggage"]},
        token={"maxLifetimeSeconds": 86_400, "clockSkewSeconds": 0, "binding": "Any",
               "header": "X-Watchword-Token"},
        routes=[ROUTE, ROUTE | {"path": "/"}, ROUTE | {"path": "/{account}/%41%C3%A9 b/{project}/"},
                {"path": "/healthz", "methods": ["GET"], "public": True},
                {"path": "/assets/{path...}", "methods": ["GET"], "public": True},
                ROUTE | {"path": "/q", "query": {"tenant_id": "account", "namespace-id": "project?"}},
                ROUTE | {"path": "/r/{account}", "query": {"a" * 64: "project"}},
                ROUTE | {"path": "/s/{project}", "query": {"t": "account"}},
                ROUTE | {"path": "/files/{path...}"}],
        limits={"requestsPerSecond": 1, "burst": 1},
        networkPolicy={"mode": "Preview", "allowFrom": [{"namespaceSelector": {"matchLabels": {}}}]},
        usage={"basePath": "/api/internal/atlas", "meters": [
            METER, METER | {"name": "n", "aggregation": "max", "value": "/a~1b/0"},
            METER | {"name": "s", "aggregation": "unique_count", "value": "/u", "groupBy": [SPLIT],
                     "maxGroups": 5, "unit": "user days", "retentionDays": 400}],
            "eventRetentionDays": 60, "lateDays": 60, "futureSeconds": 0},
        reportOnlyUntil="2027-01-01T00:00:00+14:00"),
    "a workload with all that it can say": workload(
        grants=[{"scopes": ["a:b:c"], "accounts": ["*"]}, {"scopes": ["a:b"], "projects": ["My App", "é"]}],
        suspend=True, expires="2027-01-01T00:00:00+14:00",
        **{"from": [
            {"ipBlock": {"cidr": "10.20.0.0/16", "except": ["10.20.1.0/24"]}},
            {"ipBlock": {"cidr": "2001:DB8::/32", "except": ["2001:db8:1::/48"]}},
            {"ipBlock": {"cidr": "0.0.0.0/0"}},
            {"namespaceSelector": {"matchLabels": {"a.b/c": ""}}, "podSelector": {"matchLabels": {}}}]}),
    # The API server counts what rules cost as it goes: the largest objects must stay within that too.
    "the largest issuer": issuer(
        additionalIssuers=[f"https://{n}/".ljust(1024, "x") for n in range(8)],
        revoked=[{"tokenId": "t" * 256}] * 1000,
        rotation={"approved": [f"{n}".rjust(43, "_") for n in range(64)]},
        allowedNamespaces={"matchLabels": {f"{n}".ljust(63, "x"): "v" * 63 for n in range(16)}}),
    "the largest service": service(
        audiences=[f"{n}".ljust(256, "a") for n in range(16)],
        routes=[{"path": f"/{n}/".ljust(512, "p"), "methods": ["GET", "HEAD"], "scope": "a:" + "b" * 126,
                 "query": {"a" * 64: "account", "b" * 64: "project?"}} for n in range(1000)],
        usage={"meters": [{"name": f"m{n}", "eventType": "e" * 253, "aggregation": "sum",
                           "value": "/v".ljust(256, "v"), "unit": "u" * 32, "groupBy": [
                               {"name": f"d{d}", "value": "/v".ljust(256, "v")} for d in range(3)]}
                          for n in range(64)]},
        networkPolicy={"allowFrom": [{"podSelector": {"matchLabels": {
            f"{n}".ljust(63, "x"): "v" * 63 for n in range(16)}}}] * 64}),
    "the largest workload": workload(
        grants=_grants(4, 38),
        **{"from": [
            {"ipBlock": {"cidr": "10.0.0.0/8", "except": [f"10.{n}.0.0/16" for n in range(16)]}}] * 64}),
    **admission_desk.ACCEPTED,
    **admission_agents.ACCEPTED,
    **admission_providers.ACCEPTED,
}  # fmt: skip
