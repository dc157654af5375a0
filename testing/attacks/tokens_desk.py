# SPDX-License-Identifier: Apache-2.0
"""D1 to D4: desk tokens that are not what they say, from whom they say, or for what they are used.

Each is judged under the world of `testing.desk`: a service that names a desk, whose one workload is trusted.
"""

from functools import partial
from typing import Any

from testing.attacks.case import Case, cases
from testing.desk import (
    DESK_URL,
    SERVICE_AUDIENCE,
    WORKLOAD_SUBJECT,
    desk_claims,
    desk_signer,
    desk_token,
    from_origin,
    granting,
    origin,
)
from testing.tokens import NOW, URL, Signer, claims, compact, signer, token

_HOUR = 3600
_OTHER_SUBJECT = "system:serviceaccount:atlas-production:other"


def _kind(kind: str, **members: Any) -> dict[str, Any]:
    return {"watchword": {"kind": kind} | members}


def _renamed(by: Signer, kid: str) -> Signer:
    """The same key under another kid."""
    renamed = Signer.__new__(Signer)
    renamed.__dict__ |= by.__dict__ | {"kid": kid, "jwk": by.jwk | {"kid": kid}}
    return renamed


def _doubled(name: bytes, value: bytes) -> bytes:
    """The payload with one member a second time, in front."""
    return compact(desk_claims()).replace(b"{", b'{"%b":%b,' % (name, value), 1)


TYPES: list[Case[bytes]] = cases(
    "D1",
    "unsupported_header",
    [
        (
            "a cluster's token that says at+jwt",
            partial(token, header={"alg": "RS256", "kid": "key-1", "typ": "at+jwt"}),
        ),
        ("a desk's claims by a cluster's key, as at+jwt", lambda: desk_token(signer())),
        ("a desk token without typ", partial(desk_token, header={"typ": ...})),
        ("a desk token as JWT", partial(desk_token, header={"typ": "JWT"})),
        *(
            (f"a desk token as {typ}", partial(desk_token, header={"typ": typ}))
            for typ in (
                "AT+JWT",
                "application/at+jwt",
                "at+JWT",
                "at+jwt ",
                " at+jwt",
                "at%2Bjwt",
                "jwt",
                "",
                "oauth-id-jag+jwt",
                "dpop+jwt",
                "client-authentication+jwt",
                "token-introspection+jwt",
                "secevent+jwt",
            )
        ),
        ("a desk token with typ null", partial(desk_token, header={"typ": None})),
        ("a desk token with typ as a list", partial(desk_token, header={"typ": ["at+jwt"]})),
        (
            "a cluster's claims by the desk's key, no typ",
            lambda: desk_token(header={"typ": ...}, payload=compact(claims())),
        ),
        ("crit in a desk token", partial(desk_token, header={"crit": ["exp"]})),
        ("jku in a desk token", partial(desk_token, header={"jku": DESK_URL})),
        ("jwk in a desk token", lambda: desk_token(header={"jwk": desk_signer().jwk})),
        ("x5c in a desk token", partial(desk_token, header={"x5c": ["MIIB"]})),
    ],
)

KEYS: list[Case[bytes]] = [
    *cases(
        "D2",
        "bad_signature",
        [
            (
                "a stranger's key under the desk's kid",
                lambda: desk_token(_renamed(desk_signer("x"), desk_signer().kid)),
            ),
            (
                "the next desk's key under this desk's kid",
                lambda: desk_token(_renamed(desk_signer("other"), desk_signer().kid)),
            ),
            (
                "a cut signature's neighbour",
                lambda: desk_token().rpartition(b".")[0] + b"." + desk_token(jti="z").rpartition(b".")[2],
            ),
        ],
    ),
    *cases(
        "D2",
        "unknown_key",
        [
            ("a desk's key that no bundle has", lambda: desk_token(desk_signer("other"))),
            (
                "the desk's key under a cluster's kind of kid",
                lambda: desk_token(_renamed(desk_signer(), "key-9")),
            ),
            (
                "the desk's key under its bare thumbprint",
                lambda: desk_token(_renamed(desk_signer(), desk_signer().key.thumbprint)),
            ),
            ("the kid's prefix alone", lambda: desk_token(_renamed(desk_signer(), "wd-"))),
            ("the kid in capitals", lambda: desk_token(_renamed(desk_signer(), desk_signer().kid.upper()))),
            ("a cluster's token under a desk's kid", lambda: token(_renamed(signer(), "wd-unknown"))),
        ],
    ),
    *cases(
        "D2",
        "unsupported_algorithm",
        [
            ("another algorithm than the desk's key has", partial(desk_token, header={"alg": "RS256"})),
            ("ES384 with the desk's key", partial(desk_token, header={"alg": "ES384"})),
            ("none", partial(desk_token, header={"alg": "none"})),
            ("HS256", partial(desk_token, header={"alg": "HS256"})),
        ],
    ),
    *cases(
        "D2",
        "missing_key_id",
        [
            ("no kid", partial(desk_token, header={"kid": ...})),
            ("an empty kid", partial(desk_token, header={"kid": ""})),
            ("a kid that is a number", partial(desk_token, header={"kid": 1})),
        ],
    ),
    *cases(
        "D2",
        "wrong_issuer",
        [
            (f"iss {name}", partial(desk_token, iss=value))
            for name, value in {
                "of the cluster": URL,
                "with a slash": DESK_URL + "/",
                "in capitals": DESK_URL.upper(),
                "with a port": DESK_URL + ":443",
                "of another desk": "https://desk2.example.com",
                "over http": DESK_URL.replace("https", "http"),
                "that goes on": DESK_URL + ".evil.example",
            }.items()
        ],
    ),
    *cases("D2", "revoked", [("a desk's key that was revoked", lambda: desk_token(desk_signer("revoked")))]),
]

CLAIMS: list[Case[bytes]] = [
    *cases(
        "D1",
        "malformed_claims",
        [
            *(
                (f"no {name}", partial(desk_token, **{name: ...}))
                for name in (
                    "iss",
                    "sub",
                    "aud",
                    "client_id",
                    "scope",
                    "jti",
                    "iat",
                    "exp",
                    "authorization_details",
                    "watchword",
                )
            ),
            *(
                (f"null as {name}", partial(desk_token, **{name: None}))
                for name in ("iss", "sub", "aud", "jti", "exp", "authorization_details", "watchword")
            ),
            ("aud as a list", partial(desk_token, aud=[SERVICE_AUDIENCE])),
            ("two audiences", partial(desk_token, aud=[SERVICE_AUDIENCE, "x"])),
            ("an empty aud", partial(desk_token, aud="")),
            ("exp as text", partial(desk_token, exp=str(int(NOW) + 300))),
            ("exp with a fraction", partial(desk_token, exp=NOW + 300.5)),
            ("exp beyond all clocks", partial(desk_token, exp=2**60)),
            (
                "exp as infinity",
                lambda: desk_token(payload=compact(desk_claims()).replace(b'"exp":', b'"exp":1e999,"x":')),
            ),
            ("an unknown claim", partial(desk_token, cnf={"jkt": "x"})),
            ("an actor", partial(desk_token, act={"sub": "agent:x"})),
            ("a not-before", partial(desk_token, nbf=int(NOW))),
            (
                "claims of Kubernetes besides",
                lambda: desk_token(**{"kubernetes.io": claims()["kubernetes.io"]}),
            ),
            ("a cluster's claims", lambda: desk_token(payload=compact(claims()))),
            ("sub twice", lambda: desk_token(payload=_doubled(b"sub", b'"workload:production:a:b"'))),
            ("watchword twice", lambda: desk_token(payload=_doubled(b"watchword", b'{"kind":"admin"}'))),
            ("no JSON", partial(desk_token, payload=b"not json")),
            ("a list of claims", lambda: desk_token(payload=b"[%b]" % compact(desk_claims()))),
            ("a scope more than the details", partial(desk_token, scope="account:usage:read admin:all")),
            ("a scope less than the details", partial(desk_token, scope="")),
            ("a scope with two spaces", partial(desk_token, scope="account:usage:read  ")),
            (
                "details of another type",
                partial(desk_token, authorization_details=[{"type": "x", "actions": ["account:usage:read"]}]),
            ),
            (
                "details without actions",
                partial(
                    desk_token, scope="", authorization_details=[{"type": "watchword_grant", "actions": []}]
                ),
            ),
            (
                "details with an empty list of accounts",
                lambda: desk_token(**granting({"actions": ["account:usage:read"], "accounts": []})),
            ),
            (
                "details with an empty list of projects",
                lambda: desk_token(**granting({"actions": ["account:usage:read"], "projects": []})),
            ),
            (
                "details with an empty name",
                lambda: desk_token(**granting({"actions": ["account:usage:read"], "accounts": [""]})),
            ),
            (
                "details with an unknown member",
                lambda: desk_token(**granting({"actions": ["account:usage:read"], "locations": ["x"]})),
            ),
            ("33 details", lambda: desk_token(**granting(*[{"actions": ["account:usage:read"]}] * 33))),
            ("an empty purpose", partial(desk_token, purpose="")),
            ("a purpose in capitals", partial(desk_token, purpose="Cache-Read")),
            ("a purpose with a line break", partial(desk_token, purpose="cache-read\n")),
            ("a purpose of 65 characters", partial(desk_token, purpose="p" * 65)),
            ("two purposes", partial(desk_token, purpose=["cache-read", "x"])),
            ("a kind that is none", partial(desk_token, **_kind("service_admin"))),
            ("a workload without origin", partial(desk_token, **_kind("workload"))),
            ("an admin with an origin", partial(desk_token, **_kind("admin", origin=origin()))),
            (
                "an unknown member of watchword",
                partial(desk_token, **_kind("workload", origin=origin(), admin=True)),
            ),
            ("an unknown member of origin", partial(desk_token, **from_origin(groups=["system:masters"]))),
            *(
                (f"an origin without {name}", partial(desk_token, **from_origin(**{name: ...})))
                for name in ("issuer", "subject", "service_account_uid", "pod_uid", "iat", "key")
            ),
            ("an origin with an empty uid", partial(desk_token, **from_origin(service_account_uid=""))),
            ("an origin's key that is no thumbprint", partial(desk_token, **from_origin(key="key-1"))),
            ("an origin's iat as text", partial(desk_token, **from_origin(iat="0"))),
        ],
    ),
    *cases(
        "D1",
        "wrong_token_kind",
        [
            (
                f"a token of the kind {kind}",
                partial(desk_token, **_kind(kind), sub=f"{kind}:x", client_id=f"{kind}:x"),
            )
            for kind in ("admin", "client", "agent")
        ],
    ),
    Case(
        "D1",
        "the kind is judged before the audience",
        "wrong_token_kind",
        partial(desk_token, aud="watchword.dev/desks/dev/watchword-desk/desk", **_kind("admin")),
    ),
    *cases(
        "D1",
        "wrong_audience",
        [
            (f"aud {name}", partial(desk_token, aud=value))
            for name, value in {
                "that the service declares": "tuist-server",
                "of the desk": "watchword.dev/desks/dev/watchword-desk/desk",
                "of another service": SERVICE_AUDIENCE.replace("tuist-server", "other"),
                "of another namespace": SERVICE_AUDIENCE.replace("/tuist/", "/mallory/"),
                "of another cluster": SERVICE_AUDIENCE.replace("/dev/", "/dev2/"),
                "with a slash": SERVICE_AUDIENCE + "/",
                "in capitals": SERVICE_AUDIENCE.upper(),
                "that is the issuer": DESK_URL,
            }.items()
        ],
    ),
    *cases(
        "D3",
        "lifetime_too_long",
        [("a life of two hours", partial(desk_token, iat=int(NOW) - 60, exp=int(NOW) + 2 * _HOUR))],
    ),
    *cases(
        "D3",
        "expired",
        [("an end an hour ago", partial(desk_token, iat=int(NOW) - 2 * _HOUR, exp=int(NOW) - _HOUR))],
    ),
    *cases(
        "D3",
        "issued_in_future",
        [("issued in an hour", partial(desk_token, iat=int(NOW) + _HOUR, exp=int(NOW) + _HOUR + 60))],
    ),
    *cases(
        "D4",
        "not_a_service_account",
        [
            (f"an origin that is {name}", partial(desk_token, **from_origin(subject=value)))
            for name, value in {
                "a user": "alice",
                "a node": "system:node:node-1",
                "a desk token's subject": WORKLOAD_SUBJECT,
                "a ServiceAccount with a part more": "system:serviceaccount:atlas-production:atlas:x",
            }.items()
        ],
    ),
    *cases(
        "D4",
        "inconsistent_claims",
        [
            (
                "sub of another workload",
                partial(desk_token, sub="workload:production:atlas-production:other"),
            ),
            ("sub of another issuer", partial(desk_token, sub="workload:staging:atlas-production:atlas")),
            ("sub of a client", partial(desk_token, sub="client:cache")),
            ("client_id of another", partial(desk_token, client_id="client:cache")),
            (
                "an origin of another ServiceAccount",
                partial(desk_token, **from_origin(subject=_OTHER_SUBJECT)),
            ),
            ("an origin of another issuer", partial(desk_token, **from_origin(issuer="staging"))),
        ],
    ),
    *cases(
        "D3",
        "not_bound",
        [("an origin that is bound to no pod", partial(desk_token, **from_origin(pod="", pod_uid="")))],
    ),
    *cases(
        "D3",
        "origin_key_unknown",
        [
            ("an origin's key that is pinned nowhere", partial(desk_token, **from_origin(key="A" * 43))),
            (
                "the desk's own key as the origin's",
                lambda: desk_token(**from_origin(key=desk_signer().key.thumbprint)),
            ),
            (
                "an origin of an issuer without such a key",
                partial(
                    desk_token,
                    sub="workload:staging:atlas-production:atlas",
                    client_id="workload:staging:atlas-production:atlas",
                    **from_origin(issuer="staging"),
                ),
            ),
        ],
    ),
    *cases(
        "D4",
        "unknown_workload",
        [
            (
                "a workload that no one trusts",
                partial(
                    desk_token,
                    sub="workload:production:atlas-production:other",
                    client_id="workload:production:atlas-production:other",
                    **from_origin(subject=_OTHER_SUBJECT),
                ),
            )
        ],
    ),
    *cases(
        "D4",
        "wrong_purpose",
        [("a purpose that the workload may not have", partial(desk_token, purpose="cache-write"))],
    ),
]

DESK_TOKENS: list[Case[bytes]] = [*TYPES, *KEYS, *CLAIMS]
