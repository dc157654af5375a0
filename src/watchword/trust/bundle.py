# SPDX-License-Identifier: Apache-2.0
"""The bundle: one deterministic document that holds all that a gate needs, and proves that it is whole.

Same inputs, same bytes; a digest over the content, so that half a file is never taken for a whole one. Grants
and issuers are tables that workloads point into, so that 10,000 workloads fit an object of 1 MiB when packed.
"""

import gzip
import hashlib
import io
import zlib
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from watchword.trust.specs import Limits, MeterSpec, Route, Scope, TokenRules
from watchword.trust.validation import explain

SCHEMA_VERSION: Final = 1
MAX_BUNDLE_BYTES: Final = 16 * 1024 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"


class BundleProblem(ValueError):
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
    """An issuer with its keys as JWKs."""

    name: str
    urls: Annotated[tuple[str, ...], Meta(min_length=1)]
    algorithms: Annotated[tuple[str, ...], Meta(min_length=1)]
    keys: Annotated[tuple[dict[str, Any], ...], Meta(min_length=1)]
    revocations: BundleRevocations = BundleRevocations()


class BundleGrant(_Part, frozen=True):
    """A grant."""

    scopes: Annotated[tuple[Scope, ...], Meta(min_length=1)]
    accounts: tuple[str, ...] = ()
    projects: tuple[str, ...] = ()


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


class Bundle(_Part, frozen=True):
    """The document.

    Attributes:
        schema_version: 1.
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
        meters: what is counted.
        usage_base_path: where the read model answers.
        event_retention_days: how long usage events are kept; None: for ever.
        late_days: how many days ago an event may be; None: for as long as events are kept.
        future_seconds: how far an event may be ahead.
    """

    schema_version: int
    service: ServiceName
    generation: Annotated[int, Meta(ge=1)]
    digest: str
    audiences: Annotated[tuple[Annotated[str, Meta(min_length=1)], ...], Meta(min_length=1)]
    token: TokenRules
    issuers: tuple[BundleIssuer, ...]
    grants: tuple[tuple[BundleGrant, ...], ...]
    workloads: tuple[BundleWorkload, ...]
    routes: tuple[Route, ...] = ()
    limits: Limits | None = None
    meters: tuple[MeterSpec, ...] = ()
    usage_base_path: str = "/api/internal"
    event_retention_days: int | None = None
    late_days: int | None = None
    future_seconds: int = 300


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_decoder: Final = msgspec.json.Decoder(Bundle)


def seal(bundle: Bundle, generation: int) -> Bundle:
    """The bundle with its generation and its digest set."""
    blank = msgspec.structs.replace(bundle, generation=1, digest="")
    digest = "sha256:" + hashlib.sha256(_encoder.encode(blank)).hexdigest()
    return msgspec.structs.replace(bundle, generation=generation, digest=digest)


def encode_bundle(bundle: Bundle) -> bytes:
    """The document's bytes: the same for the same bundle."""
    return _encoder.encode(bundle)


def pack_bundle(data: bytes) -> bytes:
    """The bytes gzipped, without time or name in it, so that the same bytes pack alike."""
    return gzip.compress(data, compresslevel=9, mtime=0)


def decode_bundle(data: bytes) -> Bundle:
    """Read a bundle, packed or not.

    Args:
        data: JSON, or JSON in gzip; at most 16 MiB of JSON.

    Raises:
        BundleProblem: not a whole bundle of this schema version.
    """
    if data[:2] == _GZIP_MAGIC:
        data = _unpack(data)
    if len(data) > MAX_BUNDLE_BYTES:
        raise BundleProblem("", f"the bundle has more than {MAX_BUNDLE_BYTES} bytes", "split the service")
    remedy = "make it anew with `watchword compile`"
    try:
        version = msgspec.json.decode(data, type=_Version).schemaVersion
        if version != SCHEMA_VERSION:
            given = str(version) if 0 <= version < 10_000 else "a strange number"
            detail = f"the schema version is {given}; this gate reads {SCHEMA_VERSION}"
            raise BundleProblem("schemaVersion", detail, "run operator and gate of one release")
        bundle = _decoder.decode(data)
    except msgspec.ValidationError as error:
        field, detail, _ = explain(str(error))
        raise BundleProblem(field, detail, remedy) from None
    except (msgspec.MsgspecError, ValueError, RecursionError, OverflowError) as error:
        if isinstance(error, BundleProblem):
            raise
        raise BundleProblem("", "the bundle is not JSON, or not all of it", remedy) from None
    if seal(bundle, bundle.generation).digest != bundle.digest:
        raise BundleProblem("digest", "the digest does not fit the content", remedy)
    return bundle


class _Version(msgspec.Struct):
    schemaVersion: int  # noqa: N815 - the document's own spelling


def _unpack(data: bytes) -> bytes:
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as packed:
            return packed.read(MAX_BUNDLE_BYTES + 1)
    except (OSError, EOFError, zlib.error):
        raise BundleProblem("", "the gzip data is broken or not all there", "make it anew") from None
