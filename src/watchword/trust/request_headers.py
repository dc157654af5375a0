# SPDX-License-Identifier: Apache-2.0
"""The request headers that a gate does not pass on to the app, in one table, by what an app takes them for.

A route decides on the method, the path and the proven identity. A header that an app honors instead of one of
these carries a second, undecided request past the gate. The gate's filter, the rules for
`spec.proxy.passHeaders` and the reference page all read this table, so that they cannot disagree.
"""

from collections.abc import Iterable
from typing import Final

from watchword.trust.application_headers import APPLICATION_GROUPS
from watchword.trust.header_groups import HeaderGroup

MAX_PASS_HEADERS: Final = 16
MAX_PASS_HEADER_LENGTH: Final = 64
REMOVE_HEADER_REMEDY: Final = (
    "remove it; the app reads the proven identity from X-Watchword-Subject and its like, and the caller's "
    "address from X-Forwarded-For"
)
# CGI, WSGI, Rack and PHP read every character of a name that is no letter or digit as one and the same
# (RFC 3875, section 4.1.18, and what Apache and PHP made of it).
FOLD: Final = bytes(
    ord(chr(each).lower()) if chr(each).isascii() and chr(each).isalnum() else ord("-") for each in range(256)
)

GROUPS: Final[tuple[HeaderGroup, ...]] = (
    HeaderGroup(
        title="Identity",
        why="An app, or a framework's remote-user login, takes the value for an authenticated caller. "
        "Proxies and identity providers set these after they checked someone; here only the gate "
        "did, and it sets `X-Watchword-*`.",
        action="never",
        names=(
            "x-watchword*",
            "remote-user",
            "remote-group",
            "remote-groups",
            "remote-name",
            "remote-email",
            "x-remote-user*",
            "x-remote-group*",
            "x-remote-uid",
            "x-remote-extra-*",
            "impersonate-*",
            "auth-user",
            "x-auth-request-*",
            "x-auth-user*",
            "x-auth-subject",
            "x-auth-email",
            "x-auth-groups",
            "x-auth-roles",
            "x-auth-username",
            "x-authenticated-*",
            "x-webauth-*",
            "x-proxy-user",
            "x-proxy-role",
            "x-proxy-roles",
            "x-forwarded-user*",
            "x-forwarded-preferred-username",
            "x-forwarded-email",
            "x-forwarded-group*",
            "x-forwarded-role*",
            "x-consumer-*",
            "x-credential-*",
            "x-anonymous-consumer",
            "x-userinfo",
            "x-endpoint-api-userinfo",
            "x-apigateway-api-userinfo",
            "x-jwt-payload",
            "x-jwt-claim-*",
            "x-pomerium-*",
            "x-authentik-*",
            "x-token-subject",
            "x-token-user-*",
            "x-vouch-*",
            "x-amzn-oidc-*",
            "x-goog-authenticated-user-*",
            "x-goog-iap-*",
            "x-ms-client-principal*",
            "x-ms-token-*",
            "cf-access-*",
            "tailscale-*",
            "l5d-client-id",
            "shib-*",
            "sm-user*",
            "oam-remote-user*",
            "iv-user*",
            "iv-groups",
            "iv-creds",
            "iv-remote-address",
        ),
    ),
    HeaderGroup(
        title="Client certificates",
        why="An app behind a proxy that ends TLS takes the value for a certificate that was verified.",
        action="never",
        names=(
            "client-cert*",
            "x-client-cert*",
            "x-client-certificate*",
            "x-ssl-*",
            "ssl-client-*",
            "ssl-cipher*",
            "ssl-protocol",
            "ssl-session-*",
            "x-forwarded-client-cert*",
            "x-forwarded-tls-client-cert*",
            "x-forwarded-ssl-*",
            "x-arr-clientcert",
            "x-tls-*",
            "x-mtls-*",
            "x-amzn-mtls-*",
            "cf-client-cert-*",
            "x-certificate*",
            "x-apigw-client-cert*",
        ),
    ),
    HeaderGroup(
        title="Credentials",
        why="The caller's credential stays at the gate, and what some gateways hand on as one is not "
        "the gate's.",
        action="never",
        names=(
            "authorization",
            "proxy-authorization",
            "x-authorization",
            "x-original-authorization",
            "x-forwarded-authorization",
            "x-forwarded-access-token",
            "x-forwarded-id-token",
            "x-serverless-authorization",
        ),
    ),
    HeaderGroup(
        title="Set by the gate",
        why="The gate sets these itself, from the connection and from `Host`. A second value would be "
        "the caller's.",
        action="never",
        names=("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"),
    ),
    HeaderGroup(
        title="Connection and framing",
        why="They are about one connection (RFC 9110, section 7.6.1), or say where a message ends (RFC 9112, "
        "section 6). The gate frames each message again on its own connection to the app.",
        action="never",
        names=(
            "connection",
            "keep-alive",
            "proxy-authenticate",
            "proxy-connection",
            "te",
            "trailer",
            "transfer-encoding",
            "upgrade",
            "expect",
            "http2-settings",
        ),
    ),
    HeaderGroup(
        title="Twins of framing headers",
        why="`Content_Length` is a header of its own for the gate and the length of the body for an app "
        "behind CGI or WSGI. `Content-Length`, `Content-Type`, `Content-Encoding` and `Host` "
        "themselves pass.",
        action="never",
        names=("content-length", "content-type", "content-encoding", "content-range", "host"),
        twins_only=True,
    ),
    HeaderGroup(
        title="`Proxy`",
        why="A CGI program finds it as `HTTP_PROXY` and sends its own requests there (httpoxy, "
        "CVE-2016-5385).",
        action="never",
        names=("proxy",),
    ),
    HeaderGroup(
        title="Names that are read as an identity",
        why="No standard and no proxy owns these, and apps take them for the caller all the same. Where "
        "they are data of the app's own, its owner names them.",
        action="passable",
        names=(
            "x-user",
            "x-user-id",
            "x-user-name",
            "x-user-email",
            "x-user-groups",
            "x-user-role",
            "x-user-roles",
            "x-username",
            "x-email",
            "x-groups",
            "x-roles",
            "x-subject",
            "x-principal",
        ),
    ),
    HeaderGroup(
        title="Method overrides",
        why="A framework runs another method than the one that the route allowed: Rack and Rails, "
        "Symfony, Laravel, ASP.NET Core, Express `method-override`, Yii, CakePHP, Google's and "
        "Microsoft's API clients.",
        action="passable",
        names=(
            "x-http-method",
            "x-http-method-override",
            "x-http-methodoverride",
            "x-method",
            "x-method-override",
            "x-methodoverride",
            "x-override-method",
            "x-http-override",
            "http-method-override",
            "method-override",
        ),
    ),
    HeaderGroup(
        title="Path and target overrides",
        why="An app, or the server that runs it, serves another path than the one that the route "
        "allowed: Symfony, Zend and ASP.NET on IIS (`X-Original-URL`, `X-Rewrite-URL`), gunicorn "
        "(`SCRIPT_NAME`, `PATH_INFO`), Spring, Zuul and Traefik (`X-Forwarded-Prefix`), Envoy, "
        "Next.js (CVE-2025-29927), Rack (`X-Accel-Mapping`, CVE-2025-61780).",
        action="passable",
        names=(
            "x-original-*",
            "x-rewrite-url",
            "x-rewrite-uri",
            "x-rewrite-path",
            "x-override-url",
            "x-override-uri",
            "x-http-path-override",
            "x-url-path-override",
            "x-script-name",
            "x-path-info",
            "x-path-prefix",
            "x-base-path",
            "x-base-url",
            "x-proxy-url",
            "x-replaced-path",
            "x-ingress-path",
            "x-waws-unencoded-url",
            "script-name",
            "path-info",
            "path-translated",
            "request-uri",
            "request-method",
            "query-string",
            "document-root",
            "unencoded-url",
            "x-matched-path",
            "x-middleware-*",
            "x-invoke-*",
            "x-now-route-matches",
            "x-sendfile-type",
            "x-accel-*",
        ),
    ),
    HeaderGroup(
        title="Origin and client address",
        why="The caller's word about where it comes from, which host it asked for, and whether TLS was "
        "used. The gate sets what is true. The whole of `X-Forwarded-*` is here, with the second "
        "method and path in it (`X-Forwarded-Method`, `-Uri`, `-Path`, `-Prefix`).",
        action="passable",
        names=(
            "forwarded",
            "forwarded-*",
            "x-forwarded",
            "x-forwarded-*",
            "x-forward-*",
            "x-real-*",
            "real-ip",
            "client-ip",
            "x-client-ip",
            "x-clientip",
            "true-client-ip",
            "x-true-client-ip",
            "x-cluster-client-ip",
            "cluster-client-ip",
            "x-originating-ip",
            "x-remote-ip",
            "x-remote-addr",
            "x-remote-host",
            "remote-addr",
            "remote-host",
            "x-proxyuser-ip",
            "x-azure-clientip",
            "x-azure-socketip",
            "x-appengine-user-ip",
            "x-appengine-remote-addr",
            "wl-proxy-*",
            "proxy-client-ip",
            "http-client-ip",
            "http-x-forwarded-for",
            "cf-connecting-*",
            "cf-pseudo-ipv4",
            "cf-visitor",
            "fastly-client-ip",
            "fastly-ssl",
            "fly-client-ip",
            "x-nf-client-connection-ip",
            "x-vercel-forwarded-for",
            "x-vercel-ip-*",
            "do-connecting-ip",
            "l5d-remote-ip",
            "l5d-dst-override",
            "x-envoy-*",
            "x-host",
            "x-http-host-override",
            "x-host-override",
            "x-scheme",
            "x-url-scheme",
            "url-scheme",
            "front-end-https",
            "x-https",
            "https",
            "x-custom-ip-authorization",
        ),
    ),
    HeaderGroup(
        title="`baggage`",
        why="It carries names and values to every service of a trace (W3C Baggage), some of which read "
        "a tenant or a user from it. `traceparent` and `tracestate` pass, as "
        "the gate's own while it traces.",
        action="passable",
        names=("baggage",),
    ),
    *APPLICATION_GROUPS,
)


def _exact(groups: Iterable[HeaderGroup]) -> frozenset[str]:
    return frozenset(name for group in groups for name in group.names if not name.endswith("*"))


def _prefixes(groups: Iterable[HeaderGroup]) -> tuple[str, ...]:
    return tuple(sorted({name[:-1] for group in groups for name in group.names if name.endswith("*")}))


_NEVER: Final = tuple(group for group in GROUPS if group.action == "never")
_DROPPED: Final = frozenset(
    name.encode() for name in _exact(group for group in GROUPS if not group.twins_only)
)
_DROPPED_PREFIXES: Final = tuple(name.encode() for name in _prefixes(GROUPS))
_TWINS: Final = frozenset(name.encode() for name in _exact(group for group in GROUPS if group.twins_only))
_NEVER_PASSED: Final = _exact(_NEVER)
_NEVER_PASSED_PREFIXES: Final = _prefixes(_NEVER)


def fold(name: bytes) -> bytes:
    """A header's name as the loosest servers read it: lower case, a hyphen for all but letters and digits."""
    return name.translate(FOLD)


def is_dropped(name: bytes, passed: frozenset[bytes] = frozenset()) -> bool:
    """Whether a gate keeps a request's header from the app, in this spelling.

    Args:
        name: the header's name as it came.
        passed: names in lower case that the service lets through. Other spellings of them stay here.
    """
    folded = name.translate(FOLD)
    if folded in _DROPPED or folded.startswith(_DROPPED_PREFIXES):
        return name.lower() not in passed
    return folded in _TWINS and name.lower() != folded


def group_that_never_passes(name: str) -> HeaderGroup | None:
    """The group that keeps a name out of `spec.proxy.passHeaders`; None where it may be named."""
    folded = fold(name.encode()).decode()
    for group in _NEVER:
        for each in group.names:
            if folded == each or (each.endswith("*") and folded.startswith(each[:-1])):
                return group
    return None


def pattern_that_never_passes() -> str:
    """The names that may not be passed, in lower case, as a regular expression (RE2) for the API server."""
    names = [*sorted(_NEVER_PASSED), *(f"{prefix}.*" for prefix in _NEVER_PASSED_PREFIXES)]
    return f"^({'|'.join(names)})$"
