# SPDX-License-Identifier: Apache-2.0
"""Which client asks: a DeskClient, by its own projected token, by a key of its own, or by a secret.

A client's credential is one way and never two, and its audience is the desk's issuer alone (RFC 10070): an
assertion that was made for someone else's server authenticates no one here.
"""

import base64
import hashlib
import hmac
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import unquote_plus

import msgspec

from watchword.desk.forms import Form
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.desk.store import UseAssertion
from watchword.desk.subjects import prove
from watchword.identity import ALGORITHMS, EncodingError, Key, Policy, Refusal, parse_json_object
from watchword.identity.checks import REFUSED_HEADERS
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.identity.signature import signature_holds

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# How long an assertion that a client signs itself may live, in seconds: what common clients ask for.
MAX_ASSERTION_SECONDS: Final = 3600
_SKEW_SECONDS: Final = 60
_MAX_ID: Final = 256
_MAX_BASIC: Final = 2048
# RFC 10070: `client-authentication+jwt`; what says nothing, or only that it is a JWT, is taken too.
_TYPES: Final = frozenset({"jwt", "client-authentication+jwt"})

ClientType = Literal["ResourceServer", "AdminServiceAccount", "AdminPerson"]


class Client(msgspec.Struct, frozen=True):
    """A DeskClient, made ready. Its repr shows its name and type only.

    Attributes:
        name: the DeskClient's name, which is its `client_id`.
        type: what it is for.
        services: `namespace/name` of the services that it names.
        account: (issuer name, `system:serviceaccount:...`) whose projected token it authenticates by; None:
            not in this way.
        keys: the keys that its own assertions are signed with.
        secret_digests: SHA-256 of its secrets, in hex.
    """

    name: str
    type: ClientType
    services: frozenset[str] = frozenset()
    account: tuple[str, str] | None = None
    keys: tuple[Key, ...] = ()
    secret_digests: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Client(name={self.name!r}, type={self.type!r})"


class Clients(msgspec.Struct, frozen=True):
    """All clients of a desk, by the ways in which they say who they are."""

    by_name: Mapping[str, Client] = {}
    by_account: Mapping[tuple[str, str], Client] = {}


class Authenticated(msgspec.Struct, frozen=True):
    """A client that proved who it is, as far as that can be known without the store.

    Attributes:
        client: which one.
        once: the assertion that counts only where it was not used before; None: it may be used again.
        valid_until: when the credential ends, in seconds since the epoch; 0: it is not to be remembered.
    """

    client: Client
    once: UseAssertion | None = None
    valid_until: float = 0.0


class _Assertion(msgspec.Struct, frozen=True):
    """What a client says that signs its own assertions (RFC 7523, section 3)."""

    iss: str
    sub: str
    aud: str | list[str]
    exp: int | float
    jti: str
    iat: int | float | msgspec.UnsetType = msgspec.UNSET
    nbf: int | float | msgspec.UnsetType = msgspec.UNSET


def presents_client(form: Form, authorization: Sequence[bytes]) -> bool:
    """Whether a request tries to authenticate a client, in whatever way."""
    names = ("client_assertion", "client_assertion_type", "client_secret")
    return bool(authorization) or any(form.one(name) is not None for name in names)


def authenticate(
    form: Form,
    authorization: Sequence[bytes],
    clients: Clients,
    policy: Policy,
    *,
    now: float,
) -> Authenticated | DeskRefusal:
    """Find the client that a request proves to come from. Never raises for bad input.

    Args:
        form: the request's parameters.
        authorization: the values of all Authorization headers.
        clients: the desk's clients.
        policy: as `prove` takes it, with the desk's issuer as the only audience that is accepted.
        now: seconds since the epoch.

    Returns:
        The client, or a refusal. All that is wrong with a credential is `invalid_client_authentication`; the
        audit log knows more.
    """
    ways = [
        bool(authorization),
        form.one("client_secret") is not None,
        form.one("client_assertion") is not None or form.one("client_assertion_type") is not None,
    ]
    if sum(ways) > 1 or len(authorization) > 1:
        return refuse(DeskReason.SECOND_CLIENT_AUTHENTICATION)
    if not any(ways):
        return refuse(DeskReason.MISSING_CLIENT)
    if ways[2]:
        found = _by_assertion(form, clients, policy, now)
    elif authorization:
        found = _by_basic(authorization[0], clients)
    else:
        found = _by_secret(form.one("client_id") or "", form.one("client_secret") or "", clients)
    if isinstance(found, DeskRefusal):
        return found
    if found.client.type == "AdminPerson":
        return _invalid("a person signs in at the admin API, and in no other way")
    said = form.one("client_id")
    if said is not None and said != found.client.name:
        return _invalid("client_id names another client than the credential")
    return found


def credential_ends(form: Form, client: Client) -> float:
    """When the projected token ends that a client just proved itself by, in seconds since the epoch.

    Infinity for a client of another kind: an assertion of its own is a proof of the moment.
    """
    token = parse_compact((form.one("client_assertion") or "").encode("utf-8", "replace"))
    if client.account is None or isinstance(token, Refusal):
        return math.inf
    ends = parse_json_object(token.payload).get("exp")
    return float(ends) if isinstance(ends, int | float) else 0.0


def _by_assertion(form: Form, clients: Clients, policy: Policy, now: float) -> Authenticated | DeskRefusal:
    assertion, kind = form.one("client_assertion"), form.one("client_assertion_type")
    if kind != ASSERTION_TYPE:
        return _invalid("client_assertion_type is not jwt-bearer")
    if assertion is None:
        return _invalid("there is no client_assertion")
    token = parse_compact(assertion.encode("utf-8", "replace"))
    if isinstance(token, Refusal):
        return _invalid(token.sentence())
    client = clients.by_name.get(_unproven_subject(token))
    if client is not None and client.keys:
        return _by_own_key(token, client, policy.audiences, now)
    proven = prove(assertion, policy, now, is_client=True)
    if isinstance(proven, DeskRefusal):
        return _invalid(f"{proven.code}: {proven.detail}")
    client = clients.by_account.get((proven.issuer, proven.claims.subject or ""))
    if client is None:
        return _invalid(
            f"no DeskClient authenticates by {proven.subject}, or several do (condition AccountTaken)"
        )
    return Authenticated(client, valid_until=proven.claims.expires_at or 0.0)


def _by_own_key(
    token: UnverifiedToken, client: Client, audiences: frozenset[str], now: float
) -> Authenticated | DeskRefusal:
    header = token.header
    kind, kid = header.get("typ", "JWT"), header.get("kid")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _TYPES:
        return _invalid("the assertion has another type than a client's")
    if not REFUSED_HEADERS.isdisjoint(header) or header.get("alg") not in ALGORITHMS:
        return _invalid("the assertion's header asks for something that is never done")
    fitting = [
        key
        for key in client.keys
        if key.algorithm == header["alg"] and (key.kid == kid or (kid is None and len(client.keys) == 1))
    ]
    if not any(signature_holds(key, token.signed, token.signature) for key in fitting):
        return _invalid("no key of the DeskClient signed the assertion")
    try:
        claims = msgspec.convert(parse_json_object(token.payload), _Assertion)
    except (EncodingError, msgspec.ValidationError):
        return _invalid("the assertion lacks iss, sub, aud, exp or jti, or one has the wrong type")
    audience = claims.aud if isinstance(claims.aud, list) else [claims.aud]
    if claims.iss != client.name or claims.sub != client.name:
        return _invalid("iss and sub of the assertion are not the client's name")
    if len(audience) != 1 or audience[0] not in audiences:
        return _invalid("the assertion's only audience is not the desk's issuer")
    if not now < claims.exp <= now + MAX_ASSERTION_SECONDS + _SKEW_SECONDS:
        return _invalid(f"the assertion has ended, or lives for more than {MAX_ASSERTION_SECONDS} s")
    for begins in (claims.iat, claims.nbf):
        if begins is not msgspec.UNSET and begins > now + _SKEW_SECONDS:
            return _invalid("the assertion is of the future")
    if not 0 < len(claims.jti) <= _MAX_ID:
        return _invalid(f"the assertion's jti does not have 1 to {_MAX_ID} characters")
    return Authenticated(client, UseAssertion(client.name, claims.jti, int(claims.exp) + 1))


def _by_basic(header: bytes, clients: Clients) -> Authenticated | DeskRefusal:
    """RFC 6749, section 2.3.1: name and secret, each as in a form, joined by a colon, in base64."""
    scheme, _, encoded = header.partition(b" ")
    if scheme.lower() != b"basic" or len(encoded) > _MAX_BASIC:
        return _invalid("the Authorization header holds no client's name and secret")
    try:
        name, colon, secret = base64.b64decode(encoded, validate=True).decode("ascii").partition(":")
    except ValueError:
        return _invalid("the Authorization header holds no client's name and secret")
    if not colon:
        return _invalid("the Authorization header holds no client's name and secret")
    return _by_secret(unquote_plus(name), unquote_plus(secret), clients)


def _by_secret(name: str, secret: str, clients: Clients) -> Authenticated | DeskRefusal:
    digest = hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
    client = clients.by_name.get(name)
    # Compared with something in any case, so that the time says nothing of which clients there are.
    kept = client.secret_digests if client is not None and client.secret_digests else ("0" * 64,)
    matches = [hmac.compare_digest(each, digest) for each in kept]
    # An admin client is never known by a secret, whatever its object says.
    if client is None or client.type != "ResourceServer" or not any(matches) or not secret:
        return _invalid("the secret is not the client's")
    return Authenticated(client)


def _unproven_subject(token: UnverifiedToken) -> str:
    """Which client a token says to be, to choose whose keys it must be signed by; proves nothing."""
    try:
        said: dict[str, Any] = parse_json_object(token.payload)
    except EncodingError:
        return ""
    subject = said.get("sub")
    return subject if isinstance(subject, str) and subject == said.get("iss") else ""


def _invalid(why: str) -> DeskRefusal:
    return refuse(DeskReason.INVALID_CLIENT, internal=why)
