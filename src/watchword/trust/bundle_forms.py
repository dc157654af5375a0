# SPDX-License-Identifier: Apache-2.0
"""The two forms in which a bundle is published, so that gates of the last release follow a new operator.

`bundle.json` is the form that release 0.1.0 reads; what it does not know is left out or stricter. Next to
it, `bundle.v2.json` is whole. A reader takes the newest form that it knows: a new member never freezes a
gate, and a gate that cannot be told of a revocation would be one that still says yes.
"""

from collections.abc import Mapping
from itertools import count
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from watchword.identity import thumbprint_of
from watchword.trust.api.v1alpha1 import Limits, MeterSpec, Route, Scope, TokenBounds
from watchword.trust.bundle import (
    SCHEMA_VERSION,
    Bundle,
    BundleError,
    BundleGrant,
    BundleIssuer,
    BundleRevocations,
    BundleWorkload,
    ServiceName,
    digest_of,
    encode_bundle,
    missing_features,
    unpack_bundle,
)
from watchword.trust.grants import grants_of_previous_release
from watchword.trust.route_templates import Template, may_take_requests_of, template_of
from watchword.trust.routes import is_of_previous_release

PREVIOUS_ENTRY: Final = "bundle.json"
WHOLE_ENTRY: Final = "bundle.v2.json"
# Newest first. What is not listed, such as the form of a later release, is passed over.
ENTRIES: Final = (WHOLE_ENTRY, PREVIOUS_ENTRY)


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of the form of 0.1.0. It never changes."""


class _Issuer(_Part, frozen=True):
    name: str
    urls: Annotated[tuple[str, ...], Meta(min_length=1)]
    algorithms: Annotated[tuple[str, ...], Meta(min_length=1)]
    keys: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)]
    revocations: BundleRevocations = BundleRevocations()


class _Route(_Part, frozen=True):
    path: Annotated[str, Meta(min_length=1, max_length=512)]
    methods: Annotated[tuple[Annotated[str, Meta(pattern="^[A-Z]{1,16}$")], ...], Meta(min_length=1)]
    scope: Scope


class _Previous(_Part, frozen=True):
    schema_version: int
    service: ServiceName
    generation: Annotated[int, Meta(ge=1)]
    digest: str
    audiences: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    token: TokenBounds
    issuers: tuple[_Issuer, ...]
    grants: tuple[tuple[BundleGrant, ...], ...]
    workloads: tuple[BundleWorkload, ...]
    routes: tuple[_Route, ...] = ()
    limits: Limits | None = None
    meters: tuple[MeterSpec, ...] = ()
    usage_base_path: str = "/api/internal"
    event_retention_days: int | None = None
    late_days: int | None = None
    future_seconds: int = 300


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(_Previous)


def entries_of(bundle: Bundle) -> dict[str, bytes]:
    """The document of each form by the name of its entry in the ConfigMap; both have the same generation."""
    return {PREVIOUS_ENTRY: encode_previous(_narrowed(bundle)), WHOLE_ENTRY: encode_bundle(bundle)}


def newest(entries: Mapping[str, bytes]) -> bytes | None:
    """The newest form among a ConfigMap's entries that this release reads; None where there is none.

    A document that is broken is given back as it is: its reader says what is wrong with it, and an older form
    must not hide that.
    """
    found: bytes | None = None
    generation = -1
    for name in ENTRIES:
        data = entries.get(name)
        head = None if data is None else _head(data)
        if head is None:
            continue
        if isinstance(head, BundleError):
            return data
        # An older release may have written its form alone, next to ours that someone kept.
        if head.generation > generation and _may_be_read(head):
            found, generation = data, head.generation
    return found


def to_be_read(entries: Mapping[str, bytes]) -> bytes | None:
    """The document that a gate reads: the newest form for it, else the first that is there; None: none is.

    Where no form is for this release, reading the first of them says why.
    """
    found = newest(entries)
    return found if found is not None else next((entries[name] for name in ENTRIES if name in entries), None)


def encode_previous(bundle: Bundle) -> bytes:
    """A bundle that the form of 0.1.0 can hold, in that form, with its own digest."""
    values = {name: getattr(bundle, name) for name in _Previous.__struct_fields__}
    values["routes"] = tuple(
        _Route(path=each.path, methods=each.methods, scope=each.scope or "") for each in bundle.routes
    )
    issuers = tuple(
        _Issuer(**{name: getattr(each, name) for name in _Issuer.__struct_fields__})
        for each in bundle.issuers
    )
    blank = _Previous(**values | {"schema_version": 1, "issuers": issuers, "generation": 1, "digest": ""})
    digest = digest_of(_encoder.encode(blank))
    return _encoder.encode(msgspec.structs.replace(blank, generation=bundle.generation, digest=digest))


def decode_previous(data: bytes) -> Bundle:
    """Read a document of 0.1.0.

    Raises:
        msgspec.MsgspecError: it is not of that form.
        BundleError: it is not whole.
    """
    found = _decoder.decode(data)
    blank = msgspec.structs.replace(found, generation=1, digest="")
    if digest_of(_encoder.encode(blank)) != found.digest:
        remedy = "make it again with `watchword compile`"
        raise BundleError("digest", "the digest does not fit the content", remedy)
    issuers = tuple(
        BundleIssuer(**{name: getattr(each, name) for name in _Issuer.__struct_fields__})
        for each in found.issuers
    )
    values = {name: getattr(found, name) for name in _Previous.__struct_fields__}
    values["routes"] = tuple(
        Route(path=each.path, methods=each.methods, scope=each.scope) for each in found.routes
    )
    return Bundle(**values | {"issuers": issuers})


def _narrowed(bundle: Bundle) -> Bundle:
    """What 0.1.0 can hold: one key a kid, one issuer a key, grants that it reads as no wider."""
    kids: set[str] = set()
    thumbprints: set[str] = set()
    places: dict[int, int] = {}
    issuers: list[BundleIssuer] = []
    for place, issuer in enumerate(bundle.issuers):
        keys: list[dict[str, Any]] = []
        own: set[str] = set()
        for jwk in issuer.keys:
            thumbprint = thumbprint_of(jwk)
            is_anothers = thumbprint in thumbprints and thumbprint not in own
            if thumbprint in issuer.yielding or jwk["kid"] in kids or is_anothers:
                continue
            kids.add(jwk["kid"])
            own.add(thumbprint)
            keys.append(jwk)
        thumbprints |= own
        if keys:
            places[place] = len(issuers)
            issuers.append(msgspec.structs.replace(issuer, keys=tuple(keys)))
    rows = tuple(
        msgspec.structs.replace(row, issuer=places[row.issuer])
        for row in bundle.workloads
        if row.issuer in places
    )
    routes = routes_of_previous_release(_routes_without_purposes(bundle))
    # Its gates read a grant for projects as wider than it is.
    grants = grants_of_previous_release(bundle.grants, routes)
    return msgspec.structs.replace(
        bundle, issuers=tuple(issuers), grants=grants, workloads=rows, routes=routes, requires=()
    )


def routes_of_previous_release(routes: tuple[Route, ...]) -> tuple[Route, ...]:
    """The routes for gates that know neither public ones, nor any rest, nor bindings from the query.

    Where one of these is left out, such a gate would go on to a later route. So a later one that may take a
    request of it is left out too, but behind a public one: to need a token is stricter.
    """
    kept: list[Route] = []
    left_out: list[tuple[Route, Template]] = []
    for route in routes:
        template = template_of(route.path)
        if is_of_previous_release(route) and not any(
            may_take_requests_of(other, template) and not set(route.methods).isdisjoint(each.methods)
            for each, other in left_out
        ):
            kept.append(route)
        elif not route.public:
            left_out.append((route, template))
    return tuple(kept)


def _routes_without_purposes(bundle: Bundle) -> tuple[Route, ...]:
    """The routes, those for a purpose with a scope that no workload holds.

    Left out, they would leave their requests to the routes behind them, which other tokens may pass.
    """
    held = {scope for row in bundle.grants for grant in row for scope in grant.scopes}
    no_ones = next(scope for number in count() if (scope := _no_ones_scope(number)) not in held)
    return tuple(
        route if route.purpose is None else Route(path=route.path, methods=route.methods, scope=no_ones)
        for route in bundle.routes
    )


def _no_ones_scope(number: int) -> str:
    return f"watchword:purpose-only{number or ''}"


class _Head(msgspec.Struct):
    schemaVersion: int  # noqa: N815 - the document's own spelling
    generation: int = 0
    requires: tuple[str, ...] = ()


def _head(data: bytes) -> _Head | BundleError:
    try:
        return msgspec.json.decode(unpack_bundle(data), type=_Head)
    except BundleError as problem:
        return problem
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return BundleError("", "not the head of a bundle", "see its reader")


def _may_be_read(head: _Head) -> bool:
    return head.schemaVersion in (1, SCHEMA_VERSION) and not missing_features(head.requires)
