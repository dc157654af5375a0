# SPDX-License-Identifier: Apache-2.0
"""K3, K5, P3, P6 and H1 to H9: HTTP requests, byte for byte, with a good token that must not help.

The reason is the gate's `X-Watchword-Reason`, or the status where no decision was made.
"""

from collections.abc import Callable
from functools import partial

from testing.attacks.case import Case, cases
from testing.attacks.world import token

ALLOWED_PATH = "/api/accounts/acme/usage"


def request(
    target: str | bytes = "/authz",
    *lines: str | bytes,
    method: str = "GET",
    good: bool = True,
    host: str = "gate",
) -> bytes:
    """A request with a good token unless said otherwise; lines are headers as they go out."""
    raw = target if isinstance(target, bytes) else target.encode()
    head = [method.encode() + b" " + raw + b" HTTP/1.1", b"Host: " + host.encode()]
    if good:
        head.append(b"Authorization: Bearer " + token())
    head += [line if isinstance(line, bytes) else line.encode() for line in lines]
    return b"\r\n".join(head) + b"\r\n\r\n"


def nginx(uri: str, method: str = "GET", *lines: str) -> bytes:
    return request("/authz/nginx", f"X-Original-Method: {method}", f"X-Original-URI: {uri}", *lines)


def traefik(uri: str, method: str = "GET", *lines: str) -> bytes:
    return request("/authz/traefik", f"X-Forwarded-Method: {method}", f"X-Forwarded-Uri: {uri}", *lines)


def caddy(uri: str, method: str = "GET", *lines: str) -> bytes:
    return request("/authz/caddy", f"X-Forwarded-Method: {method}", f"X-Forwarded-Uri: {uri}", *lines)


def envoy(uri: str, method: str = "GET", *lines: str) -> bytes:
    return request("/authz/envoy" + uri, *lines, method=method)


PROXIES: dict[str, Callable[..., bytes]] = {
    "nginx": nginx,
    "traefik": traefik,
    "caddy": caddy,
    "envoy": envoy,
}


def bearer(value: bytes) -> bytes:
    return b"Authorization: " + value


def credentials(*values: bytes, others: tuple[str, ...] = ()) -> bytes:
    return request("/authz", *(bearer(value) for value in values), *others, good=False)


def good() -> bytes:
    return b"Bearer " + token()


CREDENTIALS = [
    *cases(
        "K5",
        "malformed_credential",
        [
            ("two good headers", lambda: credentials(good(), good())),
            ("good, then bad", lambda: credentials(good(), b"Bearer x.y.z")),
            ("bad, then good", lambda: credentials(b"Bearer x.y.z", good())),
            ("empty, then good", lambda: credentials(b"", good())),
            ("Basic, then good", lambda: credentials(b"Basic eDp5", good())),
            ("comma-joined", lambda: credentials(good() + b", " + good())),
            ("comma-joined without space", lambda: credentials(good() + b"," + good())),
            ("two tokens by a space", lambda: credentials(good() + b" " + token())),
            ("Bearer twice", lambda: credentials(b"Bearer " + good())),
            ("a parameter", lambda: credentials(good() + b";x=y")),
            ("Bearer alone", lambda: credentials(b"Bearer")),
            ("an empty header", lambda: credentials(b"")),
            ("no scheme", lambda: credentials(token())),
            ("Basic", lambda: credentials(b"Basic " + token())),
            ("Bearer: with a colon", lambda: credentials(b"Bearer: " + token())),
            ("a tab for the space", lambda: credentials(b"Bearer\t" + token())),
            ("two spaces", lambda: credentials(b"Bearer  " + token())),
            ("quoted", lambda: credentials(b'Bearer "' + token() + b'"')),
            ("a byte over 127", lambda: credentials(good() + b"\xff")),
            ("another spelling of the header's name", lambda: request("/authz", b"AUTHORIZATION: " + good())),
        ],
    ),
    *cases(
        "K5",
        "missing_credential",
        [
            ("in a cookie", lambda: request("/authz", b"Cookie: access_token=" + token(), good=False)),
            ("in the query", lambda: request(b"/authz?access_token=" + token(), good=False)),
            (
                "in Proxy-Authorization",
                lambda: request("/authz", b"Proxy-Authorization: " + good(), good=False),
            ),
            (
                "in X-Forwarded-Authorization",
                lambda: request("/authz", b"X-Forwarded-Authorization: " + good(), good=False),
            ),
            (
                "in X-Forwarded-Access-Token",
                lambda: request("/authz", b"X-Forwarded-Access-Token: " + token(), good=False),
            ),
            (
                "in Authorization with an underscore",
                lambda: request("/authz", b"Authorization_: " + good(), good=False),
            ),
        ],
    ),
]
REPEATED = cases(
    "P6",
    "no_route",
    [
        ("X-Original-URI twice, good first", partial(nginx, ALLOWED_PATH, "GET", "X-Original-URI: /admin")),
        (
            "X-Original-URI twice, good last",
            partial(nginx, "/admin", "GET", f"X-Original-URI: {ALLOWED_PATH}"),
        ),
        ("X-Original-Method twice", partial(nginx, ALLOWED_PATH, "GET", "X-Original-Method: DELETE")),
        ("X-Original-URI empty, then good", partial(nginx, "", "GET", f"X-Original-URI: {ALLOWED_PATH}")),
        ("X-Original-URI comma-joined", partial(nginx, f"{ALLOWED_PATH}, /admin")),
        ("X-Original-Method comma-joined", partial(nginx, ALLOWED_PATH, "GET, DELETE")),
        ("X-Forwarded-Uri twice", partial(traefik, ALLOWED_PATH, "GET", "X-Forwarded-Uri: /admin")),
        ("X-Forwarded-Method twice", partial(traefik, ALLOWED_PATH, "GET", "X-Forwarded-Method: DELETE")),
        ("X-Forwarded-Uri comma-joined", partial(caddy, f"{ALLOWED_PATH},/admin")),
        (
            "X-Forwarded-Uri twice in another case",
            partial(caddy, ALLOWED_PATH, "GET", "x-forwarded-uri: /admin"),
        ),
    ],
)
SPOOFED = [
    *cases(
        "H1",
        "no_route",
        [
            (
                "Traefik's headers at nginx",
                lambda: request(
                    "/authz/nginx", "X-Forwarded-Method: GET", f"X-Forwarded-Uri: {ALLOWED_PATH}"
                ),
            ),
            (
                "nginx's headers at Traefik",
                lambda: request(
                    "/authz/traefik", "X-Original-Method: GET", f"X-Original-URI: {ALLOWED_PATH}"
                ),
            ),
            (
                "nginx's headers at Caddy",
                lambda: request("/authz/caddy", "X-Original-Method: GET", f"X-Original-URI: {ALLOWED_PATH}"),
            ),
            ("no headers at nginx", lambda: request("/authz/nginx")),
            ("no method at nginx", lambda: request("/authz/nginx", f"X-Original-URI: {ALLOWED_PATH}")),
            ("no URI at Traefik", lambda: request("/authz/traefik", "X-Forwarded-Method: GET")),
            ("an empty URI", partial(nginx, "")),
            *(
                (f"{name} beside a refused path", partial(nginx, "/admin", "GET", f"{name}: {ALLOWED_PATH}"))
                for name in (
                    "X-Forwarded-Uri",
                    "X-Original-URL",
                    "X-Rewrite-URL",
                    "X-Envoy-Original-Path",
                    "X-Forwarded-Path",
                    "X-Original-Path",
                    "X_Original_URI",
                    "X-Original-URI-",
                )
            ),
            ("X-Forwarded-Uri at Envoy", partial(envoy, "/admin", "GET", f"X-Forwarded-Uri: {ALLOWED_PATH}")),
            (
                "X-Envoy-Original-Path at Envoy",
                partial(envoy, "/admin", "GET", f"X-Envoy-Original-Path: {ALLOWED_PATH}"),
            ),
            ("a method in lower case", partial(nginx, ALLOWED_PATH, "get")),
            ("a method with a space", partial(nginx, ALLOWED_PATH, "GET x")),
            ("a method that no route has", partial(nginx, ALLOWED_PATH, "TRACE")),
            ("HEAD for GET", partial(nginx, ALLOWED_PATH, "HEAD")),
        ],
    ),
    *cases(
        "H1",
        "insufficient_scope",
        [
            (f"{name} beside DELETE", partial(nginx, ALLOWED_PATH, "DELETE", f"{name}: GET"))
            for name in ("X-Forwarded-Method", "X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method")
        ],
    ),
    *cases(
        "H1",
        "insufficient_scope",
        [("_method in the query", partial(nginx, ALLOWED_PATH + "?_method=GET", "DELETE"))],
    ),
]
EXEMPT = [
    *cases(
        "H2",
        "missing_credential",
        [
            (f"User-Agent {agent}", partial(request, "/authz", f"User-Agent: {agent}", good=False))
            for agent in (
                "kube-probe/1.36",
                "GoogleHC/1.0",
                "ELB-HealthChecker/2.0",
                "Consul Health Check",
                "",
            )
        ],
    ),
    *cases(
        "H2",
        "missing_credential",
        [
            (f"{line}", partial(request, "/authz", line, good=False))
            for line in (
                "X-Forwarded-For: 127.0.0.1",
                "X-Real-IP: ::1",
                "X-Envoy-Internal: true",
                "X-Forwarded-Proto: https",
                "X-Internal: 1",
                "Upgrade-Insecure-Requests: 1",
                "X-Auth-Request-User: admin",
                "Forwarded: for=127.0.0.1",
            )
        ],
    ),
    *cases(
        "H2",
        "missing_credential",
        [
            (
                "OPTIONS, as a preflight",
                partial(
                    request,
                    "/authz",
                    "Origin: x",
                    "Access-Control-Request-Method: GET",
                    method="OPTIONS",
                    good=False,
                ),
            )
        ],
    ),
]
SPELLINGS = (
    "X-Watchword-Subject",
    "x-watchword-subject",
    "X_Watchword_Subject",
    "X-Watchword_Subject",
    "X-WATCHWORD-SUBJECT",
    "X.Watchword.Subject",
    "X-Watchword-Reason",
    "X-Watchword-Decision-Id",
    "X-Watchword-Workload",
)
TWINS = cases(
    "H3",
    "missing_credential",
    [
        (
            f"{name} without a token",
            partial(request, "/authz", f"{name}: system:serviceaccount:a:b", good=False),
        )
        for name in SPELLINGS
    ],
)
HOP_BY_HOP = cases(
    "H5",
    "missing_credential",
    [
        (
            f"Connection: {names}, without a token",
            partial(request, "/authz", f"Connection: {names}", good=False),
        )
        for names in (
            "Authorization",
            "X-Watchword-Subject",
            "close, Authorization",
            "X-Watchword-Reason, keep-alive",
        )
    ],
)
AMBIGUOUS = (
    "/api//accounts/acme/usage",
    "//api/accounts/acme/usage",
    "/api/accounts/acme/usage/",
    "/api/./accounts/acme/usage",
    "/api/../api/accounts/acme/usage",
    "/api/accounts/other/../acme/usage",
    "/api/%2e%2e/api/accounts/acme/usage",
    "/api/%2E/accounts/acme/usage",
    "/api/accounts/acme%2fusage",
    "/api/accounts/acme%2Fusage",
    "/api%2faccounts/acme/usage",
    "/api/accounts/%252e%252e/usage",
    "/api/accounts/acme%252fx/usage",
    "/api/accounts/acme%5cx/usage",
    "/api\\accounts/acme/usage",
    "/api/accounts/acme;x=y/usage",
    "/api/accounts/acme%3bx/usage",
    "/api/accounts/acme/usage;x",
    "/api/accounts/acme%3Fx/usage",
    "/api/accounts/acme%23x/usage",
    "/api/accounts/acme%00/usage",
    "/api/accounts/acme%0a/usage",
    "/api/accounts/acme%ff/usage",
    "/api/accounts/acme%c0%af/usage",
    "/api/accounts/acme%/usage",
    "/api/accounts/acme%2/usage",
    "/api/accounts/acme%zz/usage",
    "/API/accounts/acme/usage",
    "/api/accounts//usage",
    "api/accounts/acme/usage",
    "http://gate/api/accounts/acme/usage",
    "*",
    "/",
    "/api/accounts/acme/usage/..",
    "/api/accounts/acme/usage%20",
    "/api/accounts/acme/usage%2f",
    "/api/accounts/acme",
    "/api/accounts/acme/usage/x",
    "/%61pi/accounts/acme//usage",
    "/api/accounts/acme%u002fx/usage",
    "/api/accounts/acme%EF%BC%8Fusage",
    "/api/accounts/rival/%EF%BC%8E%EF%BC%8E/acme/usage",
    "/api/accounts/acme%E2%80%A5/usage%EF%BC%BC",
    "/api/accounts/%E2%80%A5/usage",
    "/api/accounts/acme%E2%88%95x/usage",
    "/api/accounts/acme%C2%A5x/usage",
    "/api/accounts/.%E2%80%8B./usage",
    "/api/accounts/acme#/usage",
)
# Each would fall to a later route that takes more (`/site/{path...}`, `/site/users/{user}`), while an app
# serves it as the earlier one that it resembles.
RESEMBLING = (
    "/site/admin",
    "/site/ADMIN/",
    "/site/Admin/",
    "/site/%41dmin",
    "/site/adm%C4%B1n",
    "/site/ADM%C4%B0N",
    "/site/%EF%BC%A1dmin",
    "/site/Admin.",
    "/site/Admin%20",
    "/site/Admin%C2%A0",
    "/site/Adm%E2%80%8Bin",
    "/site/Admin%EF%BB%BF",
    "/site/files/rival",
    "/site/files/rival/",
    "/site/FILES/rival",
    "/site/FILES/rival/a",
    "/site/file%C5%BF/rival/a",
    "/site/files./rival/a",
    "/site/users/me",
    "/site/users/ME",
    "/site/Users/Me",
    "/site/users/Me/",
    "/site/u%C5%BFers/Me",
    "/site/users/Me%20",
)
PATHS = [
    *cases(
        "H6",
        "no_route",
        [
            (f"{path} by {name}", partial(proxy, path))
            for path in AMBIGUOUS
            for name, proxy in PROXIES.items()
            if not (name == "envoy" and not path.startswith("/"))
        ],
    ),
    *cases(
        "H6",
        "no_route",
        [
            (f"{path} in front of a catch-all by {name}", partial(proxy, path))
            for path in RESEMBLING
            for name, proxy in PROXIES.items()
        ],
    ),
    *cases(
        "H6",
        "account_not_granted",
        [
            (f"account {account} by {name}", partial(proxy, f"/api/accounts/{account}/usage"))
            for account in (
                "acm",
                "acmee",
                "ACME",
                "acme%20",
                "*",
                "%2a",
                "prj_ab",
                "prj_",
                "other",
                "acme,other",
                "acme.",
            )
            for name, proxy in PROXIES.items()
        ],
    ),
]
HOSTS = [
    *cases(
        "H7",
        "missing_credential",
        [
            (f"Host {host}", partial(request, "/authz", good=False, host=host))
            for host in ("gate/healthz?x=", "x/abc?y=", "gate/../readyz#", "127.0.0.1:9090", "@gate", "")
        ],
    ),
    *cases(
        "H7",
        "no_route",
        [
            (
                f"Host {host} for a refused path",
                lambda host=host: request(  # type: ignore[misc] # binds the loop's value
                    "/authz/nginx", "X-Original-Method: GET", "X-Original-URI: /admin", host=host
                ),
            )
            for host in (f"gate{ALLOWED_PATH}?x=", "x/abc?y=")
        ],
    ),
    *cases(
        "H7",
        "404",
        [
            ("an absolute target", partial(request, "http://gate/authz")),
            (
                "an absolute target of another host",
                partial(request, "http://other/authz/envoy" + ALLOWED_PATH),
            ),
        ],
    ),
]
DOORS = (
    "/healthz",
    "/readyz",
    "/metrics",
    "/",
    "/docs",
    "/openapi.json",
    "/shutdown",
    "/quitquitquit",
    "/debug/pprof/",
    "/admin",
    "/config",
    "/reload",
    "/authz/",
    "/authz/unknown",
    "/authz/envoy",
    "/AUTHZ",
    "/authz%2f",
    "//authz",
    "/authz/../metrics",
    "/.well-known/openid-configuration",
    "/static/../../etc/passwd",
    "/favicon.ico",
)
CLOSED = cases("H9", "404", [(f"{path} on the gate's port", partial(request, path)) for path in DOORS])
OPS = cases(
    "H9",
    "404",
    [
        (f"{path} on the ops port", partial(request, path))
        for path in (
            "/authz",
            "/authz/nginx",
            "/authz/envoy" + ALLOWED_PATH,
            "/api/internal/usage/events",
            "/",
            "/shutdown",
            "/debug",
            "/docs",
            "/healthz/x",
            "/metrics/../authz",
        )
    ],
)

REQUESTS: list[Case[bytes]] = [
    *CREDENTIALS,
    *REPEATED,
    *SPOOFED,
    *EXEMPT,
    *TWINS,
    *HOP_BY_HOP,
    *PATHS,
    *HOSTS,
    *CLOSED,
]
