# SPDX-License-Identifier: Apache-2.0
"""Decide on the paths that the gate answers itself, before any route of the app's: /authz and usage.

Offline there is no gate to ask; so that `verify` does not say `no_route` of a path that works, the same rules
are applied here, with the gate's own `authorize`.
"""

from typing import Final, NamedTuple
from urllib.parse import parse_qsl

from watchword.gate.authz_request import PATH, is_authz_request
from watchword.gate.original_request import PAIRS, OriginalRequest, original_request
from watchword.identity import Identity, Reason, Refusal
from watchword.trust import (
    USAGE_READ_SCOPE,
    USAGE_WRITE_SCOPE,
    AmbiguousTargetError,
    RouteMatch,
    Ruleset,
    authorize,
    split_target,
)

_PROXY: Final = b"/authz/nginx"
_EVENTS, _ACCOUNTS, _METERS = ("usage", "events"), ("usage",), ("usage", "meters")


def as_forwarded(method: str, target: str) -> OriginalRequest | Refusal:
    """A request as a gate reads it from a proxy's headers, or why it reads none.

    By the gate's own code, so that both decide alike on white space and on characters beyond ASCII, which
    proxies such as nginx pass on as they come. HTTP takes spaces and tabs off both ends of a header's value.

    Args:
        method: of the request.
        target: the text that stands for its raw target; bytes that are no UTF-8 as surrogates.
    """
    detail = "No proxy passes such a request on: the method or the path is empty or holds white space."
    hint = "Percent-encode the path as a request line has it."
    try:
        values = [text.encode("utf-8", "surrogateescape").strip(b" \t") for text in (method, target)]
    except UnicodeEncodeError:
        return Refusal(Reason.NO_ROUTE, detail, hint)
    found = original_request(_PROXY, _PROXY, "GET", list(zip(PAIRS[_PROXY], values, strict=True)))
    return found if isinstance(found, OriginalRequest) else Refusal(Reason.NO_ROUTE, detail, hint)


def is_own_path(usage_base_path: str, target: bytes) -> bool:
    """Whether a raw target is one that the gate answers itself, so that no route of the app's is asked."""
    return is_authz_request(target) or _usage_path(usage_base_path, target) is not None


def route_asked(ruleset: Ruleset, method: str, target: bytes) -> RouteMatch | Refusal | None:
    """The route that decides on a request; why there is none; None where the gate answers the path itself.

    Behind Envoy, what follows `/authz/envoy` is the original target.
    """
    path = target.partition(b"?")[0]
    if path != PATH and is_authz_request(target):
        # Only Envoy sends the original request as this one; the other proxies name it in headers.
        original = original_request(path, target, method, ())
        if original is None:
            detail = "There is no such endpoint below /authz: the gate answers 404."
            return Refusal(Reason.NO_ROUTE, detail, "Give the path of the request to the app.")
        if isinstance(original, OriginalRequest) and not target.isascii():
            return Refusal(Reason.NO_ROUTE, "The path is not ASCII; a request line has it percent-encoded.")
        if isinstance(original, OriginalRequest):
            return ruleset.routes.match(original.method, original.target)
        detail = f"{path.decode('ascii', 'replace')} decides on the request that the proxy names in headers, "
        hint = "Give the method and the path of the original request."
        return Refusal(Reason.NO_ROUTE, f"{detail}not on this one.", hint)
    if is_own_path(ruleset.usage_base_path, target):
        return None
    return ruleset.routes.match(method, target)


def allow_own(identity: Identity, ruleset: Ruleset, method: str, target: bytes) -> str | Refusal:
    """Decide on a request for `/authz` itself, or for one of the usage endpoints.

    Args:
        identity: who is calling.
        ruleset: what the gate would run.
        method: of the request.
        target: its raw target, for which `route_asked` finds that the gate answers it itself.

    Returns:
        The scope that permits it, empty where none is asked for; or the refusal.
    """
    if target.partition(b"?")[0] == PATH:
        if identity.desk is not None and identity.desk.purpose is not None:
            detail = f"A token for the purpose {identity.desk.purpose} passes only on routes of that purpose."
            return Refusal(Reason.WRONG_PURPOSE, detail)
        return ""
    needs = own_needs(ruleset.usage_base_path, method, target)
    return needs if isinstance(needs, Refusal) else _held(identity, needs.scope, needs.accounts)


class OwnNeeds(NamedTuple):
    """What one of the gate's usage endpoints asks for: the scope, for each of these accounts."""

    scope: str
    accounts: tuple[str | None, ...]


def own_needs(usage_base_path: str, method: str, target: bytes) -> OwnNeeds | Refusal:
    """What a request for a usage endpoint needs; the refusal, where it has another method.

    Args:
        usage_base_path: of the service.
        method: of the request.
        target: its raw target, which is one of a usage endpoint.
    """
    rest = _usage_path(usage_base_path, target)
    if rest == _EVENTS:
        return _other_method("POST") if method != "POST" else OwnNeeds(USAGE_WRITE_SCOPE, (None,))
    if rest is None or rest in (_ACCOUNTS, _METERS):
        query = target.partition(b"?")[2]
        named = parse_qsl(query.decode("ascii", "replace")) if rest == _ACCOUNTS else []
        accounts = (None, *(value for name, value in named if name == "account"))
    else:
        accounts = (rest[1],)
    return _other_method("GET") if method != "GET" else OwnNeeds(USAGE_READ_SCOPE, accounts)


def _usage_path(usage_base_path: str, target: bytes) -> tuple[str, ...] | None:
    """The segments of a usage endpoint behind the base path; None for every other path."""
    try:
        segments = split_target(target)
    except AmbiguousTargetError:
        return None
    base = split_target(usage_base_path.encode())
    rest = segments[len(base) :]
    if segments[: len(base)] != base:
        return None
    is_of_account = len(rest) == 3 and rest[0] == "accounts" and rest[1] != "" and rest[2] == "usage"
    return rest if rest in (_EVENTS, _ACCOUNTS, _METERS) or is_of_account else None


def _held(identity: Identity, scope: str, accounts: tuple[str | None, ...]) -> str | Refusal:
    for account in accounts:
        grant = authorize(identity, scope, account)
        if isinstance(grant, Refusal):
            return grant
    return scope


def _other_method(wanted: str) -> Refusal:
    detail = f"The gate answers this path itself, with {wanted} only (405)."
    return Refusal(Reason.NO_ROUTE, detail, f"Use {wanted}.")
