# SPDX-License-Identifier: Apache-2.0
"""The bundle: one deterministic document that holds all that a gate needs, and proves that it is whole.

Same inputs, same bytes; a digest over the content, so that half a file is never taken for a whole one. Grants
and issuers are tables that workloads point into, so that 10,000 workloads fit an object of 1 MiB when packed.

A later release may add members at the top level: this one covers them by the digest and passes over them.
What must not be passed over, such as a new restriction, is named in `requires`; a gate that does not know one
of these refuses the document and takes the older form next to it (`bundle_forms`).
"""

import gzip
import hashlib
import io
import zlib
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from watchword.trust.api.v1alpha1 import Limits, MeterSpec, Route, Scope, TokenBounds
from watchword.trust.api.v1alpha1.validation import explain

SCHEMA_VERSION: Final = 2
# What a document may require of its reader: that routes for a purpose let no other token pass; and routes
# that are public, take any rest, or bind from the query.
ROUTE_PURPOSES: Final = "route-purposes"
ROUTES_FEATURE: Final = "routes.2"
# And: a token that is in another header than Authorization.
HEADER_FEATURE: Final = "token.header"
FEATURES: Final = frozenset({ROUTE_PURPOSES, ROUTES_FEATURE, HEADER_FEATURE})
MAX_BUNDLE_BYTES: Final = 16 * 1024 * 1024
# The furthest that the end of report only may be ahead.
MAX_REPORT_ONLY_DAYS: Final = 30
MAX_REPORT_ONLY_SECONDS: Final = MAX_REPORT_ONLY_DAYS * 24 * 3600.0
_GZIP_MAGIC: Final = b"\x1f\x8b"


class BundleError(ValueError):
    """A document that is no usable bundle.

    Attributes:
        field: the path of the field at fault.
        detail: what is wrong.
        remedy: what would be right.
    """

    def __init__(self, field: str, detail: str, remedy: str) -> None:
        super().__init__(f"{field}: {detail}. Remedy: {remedy}" if field else f"{detail}. Remedy: {remedy}")
        self.field, self.detail, self.remedy = field, detail, remedy


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """A part of the document."""


class ServiceName(_Part, frozen=True):
    """The service that the bundle is for."""

    namespace: str
    name: str


class BundleRevocations(_Part, frozen=True):
    """What an issuer's owner took back; times in seconds since the epoch."""

    token_ids: tuple[str, ...] = ()
    pod_uids: tuple[str, ...] = ()
    service_account_uids: tuple[str, ...] = ()
    issued_before: float | None = None


class BundleIssuer(_Part, frozen=True):
    """An issuer with its keys as JWKs.

    Attributes:
        name: the ClusterTrustedIssuer's name.
        urls: the accepted `iss` values.
        algorithms: the allowed `alg` values.
        keys: the public keys that are trusted; none where all were revoked.
        revocations: what was taken back.
        revoked_keys: public keys that were taken back, so that their tokens are answered as revoked.
        yielding: thumbprints of keys that the form of the last release leaves out of this issuer, since
            another issuer's claim to the key, or to its kid, is firmer.
    """

    name: str
    urls: Annotated[tuple[str, ...], Meta(min_length=1)]
    algorithms: Annotated[tuple[str, ...], Meta(min_length=1)]
    keys: tuple[dict[str, Any], ...]
    revocations: BundleRevocations = BundleRevocations()
    revoked_keys: tuple[dict[str, Any], ...] = ()
    yielding: tuple[str, ...] = ()


class BundleGrant(_Part, frozen=True):
    """A grant."""

    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    accounts: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()


class BundleDesk(_Part, frozen=True, omit_defaults=True):
    """The TokenDesk whose tokens the service accepts.

    Attributes:
        namespace: of the TokenDesk.
        name: of the TokenDesk.
        issuer: its issuer URL, the `iss` of its tokens.
        audience: the `aud` of its tokens for this service: the derived one.
        keys: its public keys, by kids that begin with `wd-`.
        revoked_keys: public keys that were taken back, so that their tokens are answered as revoked.
        purposes: what a workload may name as the purpose of a token, by the TrustedWorkload's name. For the
            desk, and for gates: a purpose that was taken away ends its tokens.
        resource_servers: the DeskClients that may ask about tokens for the service. For the desk alone.
        agents: what agents that registered at the desk may do at most; absent: none passes.
    """

    namespace: str
    name: str
    issuer: Annotated[str, Meta(min_length=1)]
    audience: Annotated[str, Meta(min_length=1)]
    keys: tuple[dict[str, Any], ...]
    revoked_keys: tuple[dict[str, Any], ...] = ()
    purposes: dict[str, tuple[str, ...]] = {}
    resource_servers: tuple[str, ...] = ()
    agents: BundleGrant | None = None


class BundleWorkload(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """A workload as a row: places in the tables of issuers and grants, and names.

    Attributes:
        name: the TrustedWorkload's name; its namespace is the service's.
        issuer: place in `issuers`.
        namespace: the ServiceAccount's namespace.
        service_account: the ServiceAccount's name.
        grants: place in `grants`.
        suspended: trust is switched off.
        expires_at: seconds since the epoch, or null.
        live_uid: UID of the live ServiceAccount where it is known, or null.
    """

    name: str
    issuer: Annotated[int, Meta(ge=0)]
    namespace: str
    service_account: str
    grants: Annotated[int, Meta(ge=0)]
    suspended: bool = False
    expires_at: float | None = None
    live_uid: str | None = None


class Bundle(_Part, frozen=True, forbid_unknown_fields=False):
    """The document. Members of a later release are passed over.

    Attributes:
        schema_version: 2, or 1 for one that was read in the form of the last release.
        service: whom it is for.
        generation: only grows.
        digest: `sha256:` and the hex digest of the document without generation and digest.
        audiences: the service's audiences.
        token: the rules for tokens.
        issuers: the issuers that the service's namespace may rely on.
        grants: the distinct lists of grants.
        workloads: one row a workload.
        routes: in order.
        limits: or null.
        pass_headers: request headers that go on to the app, though dropped by default; in lower case.
        meters: what is counted.
        usage_base_path: where the read model answers.
        event_retention_days: how long usage events are kept; None: for ever.
        late_days: how many days ago an event may be; None: for as long as events are kept.
        future_seconds: how far an event may be ahead.
        requires: what a reader must know to use it.
        desk: whose tokens are accepted besides; absent: no desk's.
        token_header: which request header the token is in; unset: Authorization.
        report_only_until: until when a gate lets pass what it would refuse, in seconds since the epoch;
            unset: it enforces. A reader that does not know the member enforces: `requires` does not name it.
    """

    schema_version: int
    service: ServiceName
    generation: Annotated[int, Meta(ge=1)]
    digest: str
    audiences: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    token: TokenBounds
    issuers: tuple[BundleIssuer, ...]
    grants: tuple[tuple[BundleGrant, ...], ...]
    workloads: tuple[BundleWorkload, ...]
    routes: tuple[Route, ...] = ()
    limits: Limits | None = None
    pass_headers: tuple[str, ...] = ()
    meters: tuple[MeterSpec, ...] = ()
    usage_base_path: str = "/api/internal"
    event_retention_days: int | None = None
    late_days: int | None = None
    future_seconds: int = 300
    requires: tuple[str, ...] = ()
    desk: BundleDesk | msgspec.UnsetType = msgspec.UNSET
    # Not there where it is Authorization: a reader that does not know the member could not check the digest.
    token_header: Literal["X-Watchword-Token"] | msgspec.UnsetType = msgspec.UNSET
    report_only_until: float | msgspec.UnsetType = msgspec.UNSET


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Bundle)
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_names: Final = frozenset(field.encode_name for field in msgspec.structs.fields(Bundle))
_REMEDY: Final = "make it again with `watchword compile`"


def seal(bundle: Bundle, generation: int) -> Bundle:
    """The bundle in this release's form with its generation and its digest set."""
    blank = msgspec.structs.replace(bundle, schema_version=SCHEMA_VERSION, generation=1, digest="")
    return msgspec.structs.replace(blank, generation=generation, digest=digest_of(_encoder.encode(blank)))


def digest_of(blank: bytes) -> str:
    """The digest of a document in which generation is 1 and digest is empty."""
    return "sha256:" + hashlib.sha256(blank).hexdigest()


def encode_bundle(bundle: Bundle) -> bytes:
    """The document's bytes, in the form that its version has: the same for the same bundle."""
    if bundle.schema_version == 1:
        from watchword.trust.bundle_forms import encode_previous

        return encode_previous(bundle)
    return _encoder.encode(bundle)


def pack_bundle(data: bytes) -> bytes:
    """The bytes gzipped, without time or name in it, so that the same bytes pack alike."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def decode_bundle(data: bytes) -> Bundle:
    """Read a bundle, packed or not.

    Args:
        data: JSON, or JSON in gzip; at most 16 MiB of JSON.

    Raises:
        BundleError: not a whole bundle of this schema version.
    """
    data = unpack_bundle(data)
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleError("", f"the bundle has more than {MAX_BUNDLE_BYTES} bytes", "split the service")
    try:
        version = msgspec.json.decode(data, type=_Version).schemaVersion
        if version == 1:
            from watchword.trust.bundle_forms import decode_previous

            return decode_previous(data)
        if version != SCHEMA_VERSION:
            given = str(version) if 0 <= version < 10_000 else "a strange number"
            detail = f"the schema version is {given}; this gate reads 1 and {SCHEMA_VERSION}"
            raise BundleError("schemaVersion", detail, "run operator and gate of one release")
        return _decode_whole(data)
    except msgspec.ValidationError as error:
        field, detail, _ = explain(str(error))
        raise BundleError(field, detail, _REMEDY) from None
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError("", "the bundle is not JSON, or not all of it", _REMEDY) from None


def missing_features(requires: Iterable[str]) -> list[str]:
    """What is required and not known here."""
    return sorted(set(requires) - FEATURES)


def _decode_whole(data: bytes) -> Bundle:
    bundle = _decoder.decode(data)
    if unknown := missing_features(bundle.requires):
        detail = f"it requires what this gate does not know: {', '.join(unknown)[:200]}"
        raise BundleError("requires", detail, "run a gate of the operator's release")
    # The digest covers the members of a later release too.
    members = _members.decode(data)
    blank = members | {"generation": msgspec.Raw(b"1"), "digest": msgspec.Raw(b'""')}
    if digest_of(_encoder.encode(blank)) != bundle.digest and (
        not members.keys() <= _names or seal(bundle, bundle.generation).digest != bundle.digest
    ):
        raise BundleError("digest", "the digest does not fit the content", _REMEDY)
    return bundle


class _Version(msgspec.Struct):
    schemaVersion: int  # noqa: N815 - the document's own spelling


def unpack_bundle(data: bytes) -> bytes:
    """The document's bytes, packed or not; at most one more than a bundle may have.

    Raises:
        BundleError: gzip data that is broken.
    """
    if data[:2] != _GZIP_MAGIC:
        return data
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            return packed.read(MAX_BUNDLE_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise BundleError("", "the gzip data is broken or not all there", "make it again") from None
