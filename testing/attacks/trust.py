# SPDX-License-Identifier: Apache-2.0
"""P1, P2 and P5: objects that reach beyond their namespace, stand for a pattern, or cost more than they may.

The reason is the problem's; the object must be left out, and the world beside it must stand.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from testing.attacks.case import Case, cases
from testing.attacks.manifests import Document, document, issuer, service, text, workload
from testing.attacks.world import CLUSTER_ID, FORMER_AUDIENCE, OWN_AUDIENCE, URL, key

OTHER = "system:serviceaccount:mallory:mallory"


def mallory(**spec: Any) -> bytes:
    """One more workload beside the good ones."""
    return text(workload("mallory", OTHER, **spec))


def account(namespace: str, name: str) -> bytes:
    return mallory(serviceAccount={"namespace": namespace, "name": name})


def another(name: str = "other", **spec: Any) -> bytes:
    """One more service."""
    return text(service(name, **spec))


def cluster(name: str = "mallory", **spec: Any) -> bytes:
    """One more issuer, well-formed but for the change."""
    base: dict[str, Any] = {
        "issuer": "https://mallory.example",
        "keys": {"inline": {"keys": [key("mallory").jwk]}},
    }
    return text(document("ClusterTrustedIssuer", name, base | spec))


def grants(**grant: Any) -> bytes:
    return mallory(grants=[{"scopes": ["account:usage:read"], "accounts": ["acme"]} | grant])


def edited(build: Callable[[], Document], **members: Any) -> bytes:
    return text(build() | members)


def routed(path: str) -> bytes:
    return another(routes=[{"path": path, "methods": ["GET"], "scope": "a:b"}])


def keys(source: object) -> bytes:
    return cluster(keys=source)


PATTERNS = cases(
    "P1",
    "InvalidField",
    [
        *(
            (f"a ServiceAccount {namespace}/{name}", partial(account, namespace, name))
            for namespace, name in (
                ("*", "atlas"),
                ("atlas-production", "*"),
                ("atlas-*", "atlas"),
                ("a:b", "c"),
                ("a", "b:c"),
                ("", "x"),
                ("x", ""),
                ("atlas.production", "atlas"),
                ("atlas", ".*"),
                ("atlas", "^a"),
                ("Atlas", "atlas"),
                ("atlas", "atlas\n"),
                ("atlas", "atlas/../x"),
                ("atlas", "a,b"),
                ("n" * 64, "x"),
            )
        ),
        ("a scope with a wildcard", partial(grants, scopes=["account:*"])),
        ("every scope", partial(grants, scopes=["*"])),
        ("no scope", partial(grants, scopes=[])),
        ("a scope in capitals", partial(grants, scopes=["ACCOUNT:read"])),
        ("a scope with white space", partial(grants, scopes=["account:usage:read admin:all"])),
        ("accounts a string", partial(grants, accounts="*")),
        ("an empty account", partial(grants, accounts=[""])),
    ],
)

REACHING = [
    *cases(
        "P2",
        "InvalidField",
        [
            (
                "serviceRef with a namespace",
                partial(mallory, serviceRef={"name": "tuist-server", "namespace": "tuist"}),
            ),
            (
                "issuerRef with a namespace",
                partial(mallory, issuerRef={"name": "narrow", "namespace": "kube-system"}),
            ),
            ("issuerRef with a kind", partial(mallory, issuerRef={"name": "narrow", "kind": "Secret"})),
            (
                "an issuer in a namespace",
                lambda: text(issuer() | {"metadata": {"name": "x", "namespace": "mallory"}}),
            ),
            ("a workload in no namespace", lambda: text(workload("mallory", OTHER, namespace=""))),
            ("two sources of keys", partial(keys, {"inline": {"keys": []}, "cluster": {}})),
            ("no source of keys", partial(keys, {})),
            ("keys from a Secret", partial(keys, {"secret": {"namespace": "x", "name": "y"}})),
            ("keys over HTTP", partial(keys, {"discovery": {"jwksURL": "http://mallory.example/jwks"}})),
            ("keys from a file", partial(keys, {"discovery": {"jwksURL": "file:///etc/passwd"}})),
            (
                "keys over HTTP by the issuer's URL",
                partial(cluster, issuer="http://x.example", keys={"discovery": {}}),
            ),
        ],
    ),
    *cases(
        "P2",
        "ServiceNotFound",
        [
            (
                "a workload of another namespace",
                lambda: text(workload("mallory", OTHER, namespace="mallory")),
            ),
            ("serviceRef a prefix", partial(mallory, serviceRef={"name": "tuist-serve"})),
        ],
    ),
    *cases(
        "P2",
        "IssuerNotFound",
        [
            ("an issuer that is not there", partial(mallory, issuerRef={"name": "mallory"})),
        ],
    ),
    *cases(
        "P2",
        "InvalidField",
        [
            ("serviceRef namespace/name", partial(mallory, serviceRef={"name": "tuist/tuist-server"})),
            ("serviceRef with dots", partial(mallory, serviceRef={"name": "../tuist/tuist-server"})),
            ("an issuer by its URL", partial(mallory, issuerRef={"name": URL})),
            ("an issuer in upper case", partial(mallory, issuerRef={"name": "NARROW"})),
        ],
    ),
    *cases(
        "P2",
        "NamespaceNotAllowed",
        [
            (
                "an issuer for other namespaces",
                lambda: (
                    cluster(allowedNamespaces={"matchLabels": {"team": "x"}})
                    + b"\n---\n"
                    + mallory(issuerRef={"name": "mallory"})
                ),
            ),
            (
                "an issuer for one other namespace",
                lambda: (
                    cluster(allowedNamespaces={"matchLabels": {"kubernetes.io/metadata.name": "mallory"}})
                    + b"\n---\n"
                    + mallory(issuerRef={"name": "mallory"})
                ),
            ),
        ],
    ),
    *cases(
        "P2",
        "KeysUnavailable",
        [
            ("a ConfigMap that is not there", partial(keys, {"configMap": {"namespace": "x", "name": "y"}})),
            ("discovery that was never done", partial(keys, {"discovery": {}})),
            (
                "another namespace's ConfigMap, other entry",
                lambda: (
                    keys({"configMap": {"namespace": "x", "name": "y"}})
                    + b"\n---\n"
                    + text(
                        {
                            "apiVersion": "v1",
                            "kind": "ConfigMap",
                            "metadata": {"namespace": "x", "name": "y"},
                            "data": {"other": "{}"},
                        }
                    )
                ),
            ),
        ],
    ),
]


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


COSTLY = [
    *cases(
        "P5",
        "InvalidField",
        [
            (
                "10,000 routes",
                lambda: another(
                    routes=[{"path": f"/p{n}", "methods": ["GET"], "scope": "a:b"} for n in range(10_000)]
                ),
            ),
            ("a path of 1 MiB", lambda: routed("/" + "a" * 2**20)),
            ("an audience of 1 MiB", lambda: another(audiences=["a" * 2**20])),
            ("1,000 audiences", lambda: another(audiences=[f"a{n}" for n in range(1000)])),
            ("no audience", partial(another, audiences=[])),
            ("an empty audience", partial(another, audiences=[""])),
            ("audiences twice", partial(another, audiences=["a", "a"])),
            ("an audience with a NUL", partial(another, audiences=["a\0"])),
            ("1,000 grants", lambda: mallory(grants=[{"scopes": ["a:b"]}] * 1000)),
            ("10,000 accounts", lambda: grants(accounts=[f"a{n}" for n in range(10_000)])),
            (
                "10,000 meters",
                lambda: another(
                    usage={
                        "meters": [
                            {"name": f"m{n}", "eventType": "e", "aggregation": "count"} for n in range(10_000)
                        ]
                    }
                ),
            ),
            ("10,000 revocations", lambda: cluster(revoked=[{"tokenId": "x"}] * 10_000)),
            ("a revocation of two things", partial(cluster, revoked=[{"tokenId": "x", "podUid": "y"}])),
            ("an empty revocation", partial(cluster, revoked=[{}])),
            ("a lifetime of a year", partial(another, token={"maxLifetimeSeconds": 31_536_000})),
            ("a negative lifetime", partial(another, token={"maxLifetimeSeconds": -1})),
            ("a huge clock skew", partial(another, token={"clockSkewSeconds": 86_400})),
            ("a lifetime in words", partial(another, token={"maxLifetimeSeconds": "1h"})),
            ("binding None", partial(another, token={"binding": "None"})),
            ("algorithm none", partial(cluster, algorithms=["none"])),
            ("algorithm HS256", partial(cluster, algorithms=["RS256", "HS256"])),
            ("no algorithm", partial(cluster, algorithms=[])),
            ("an unlimited rate", partial(another, limits={"requestsPerSecond": 10**12, "burst": 10**12})),
            ("the rate 0", partial(another, limits={"requestsPerSecond": 0, "burst": 0})),
            ("a typo in a field", partial(another, audience=["x"])),
            ("a typo in suspend", partial(mallory, suspended=True)),
            ("suspend in words", partial(mallory, suspend="true")),
            ("expires in words", partial(mallory, expires="tomorrow")),
            ("expires without a zone", partial(mallory, expires="2030-01-01T00:00:00")),
            ("a path with dot segments", partial(routed, "/a/../b")),
            ("a path with an empty segment", partial(routed, "/a//b")),
            ("a path with an encoded slash", partial(routed, "/a%2fb")),
            ("a path with a wildcard part", partial(routed, "/a{account}")),
            ("a method *", partial(another, routes=[{"path": "/a", "methods": ["*"], "scope": "a:b"}])),
            ("a selector of everything", partial(another, selector={"matchLabels": {}})),
            ("the gate's port as the app's", partial(another, upstreamPort=8443)),
            (
                "an SQL pointer in a meter",
                partial(
                    another,
                    usage={
                        "meters": [
                            {"name": "m", "eventType": "e", "aggregation": "sum", "value": "x') FROM t--"}
                        ]
                    },
                ),
            ),
            (
                "an SQL name of a meter",
                partial(
                    another,
                    usage={"meters": [{"name": "m; DROP TABLE t", "eventType": "e", "aggregation": "count"}]},
                ),
            ),
        ],
    ),
    *cases(
        "P5",
        "Unreadable",
        [
            ("a file of 5 MiB", lambda: b"#" * (5 * 2**20)),
            ("a laugh of aliases", lambda: b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"),
            ("a tag that makes an object", lambda: b"a: !!python/object/apply:os.system ['true']\n"),
            ("an unknown tag", lambda: b"a: !x 1\n"),
            ("100,000 brackets", lambda: nested(100_000)),
            ("100 levels", lambda: b"a: " + nested(100)),
            ("a repeated key", lambda: b'{"apiVersion":"watchword.dev/v1alpha1","kind":"A","kind":"B"}'),
            ("a merge key", lambda: b"a: 1\n<<: {kind: ProtectedService}\n"),
            ("a key that is a number", lambda: b"1: x\n"),
            ("a key that is a list", lambda: b"[a]: x\n"),
            ("bytes that are not UTF-8", lambda: b"a: \xff\n"),
            ("a NUL", lambda: b"a: \0\n"),
            ("a list of objects", lambda: b"- a\n- b\n"),
            ("an open bracket", lambda: b"{"),
        ],
    ),
    *cases(
        "P5",
        "UnknownKind",
        [
            ("a kind that does not exist", partial(edited, service, kind="ClusterAdmin")),
            ("a version that does not exist", partial(edited, service, apiVersion="watchword.dev/v9")),
            ("kind a list", partial(edited, service, kind=["ProtectedService"])),
        ],
    ),
    *cases(
        "P5",
        "NoUsableKey",
        [
            ("an issuer without keys", partial(keys, {"inline": {"keys": []}})),
            (
                "65 keys",
                lambda: keys(
                    {"inline": {"keys": [key("mallory").jwk | {"kid": f"k{n}"} for n in range(65)]}}
                ),
            ),
        ],
    ),
]

AUDIENCES = [
    *cases(
        "A1",
        "InvalidField",
        [
            (f"a service that declares {name}", partial(another, audiences=[value]))
            for name, value in {
                "another's derived audience": OWN_AUDIENCE,
                "its own derived audience": OWN_AUDIENCE.replace("tuist-server", "other"),
                "one of a former cluster": FORMER_AUDIENCE,
                "one of a desk": f"watchword.dev/desks/{CLUSTER_ID}/tuist/desk",
                "the root of all": "watchword.dev/",
                "it in capitals": OWN_AUDIENCE.upper(),
            }.items()
        ],
    ),
    *cases(
        "A1",
        "AudienceReserved",
        [
            (f"a service that declares the audience of {name}", partial(another, audiences=[value]))
            for name, value in {
                "an issuer": URL,
                "an issuer with a slash": f"{URL}/",
                "an issuer in capitals": URL.upper(),
                "the API server": "https://kubernetes.default.svc",
                "the API server by its domain": "https://kubernetes.default.svc.cluster.local",
                "the API server by no scheme": "kubernetes.default.svc",
                "a cloud": "sts.amazonaws.com",
                "a cloud in capitals": "STS.amazonaws.com",
                "another cloud": "api://AzureADTokenExchange",
                "its sovereign twin": "api://AzureADTokenExchangeUSGov",
                "a pool of a third": "//iam.googleapis.com/projects/1/locations/global",
                "a node pool of it": "project.svc.id.goog",
                "a vault": "vault",
                "a mesh": "istio-ca",
            }.items()
        ],
    ),
]

FILES: list[Case[bytes]] = [*PATTERNS, *REACHING, *COSTLY, *AUDIENCES]
