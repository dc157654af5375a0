# SPDX-License-Identifier: Apache-2.0
"""Fetches an issuer's public keys, again and again: found by discovery or said, asked for only when changed.

What comes back decides whom services believe. So keys come from the host that a person named: a discovery
document may name another path on its own host, and only a person another host (`jwksURL`).
"""

import re
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

from watchword.identity import EncodingError, parse_json_object
from watchword.operator.keys.addresses import NOT_THIS_MACHINE, AddressRules
from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.http import Answer, Resolve, get, resolve
from watchword.operator.keys.url import Target, parse_target
from watchword.trust.api.v1alpha1.issuer import DiscoveryKeys

__all__ = ["NOT_THIS_MACHINE", "AddressRules", "FetchError", "KeyFetcher"]

WELL_KNOWN: Final = "/.well-known/openid-configuration"
# A cluster's discovery document moves with its `iss`; a JWKS that is gone makes us look again at once.
DISCOVERY_SECONDS: Final = 3600.0
_AGENT: Final = "watchword-operator"
_CREDENTIAL: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_VALIDATOR: Final = re.compile(r"[\x20-\x7e]{1,256}")
# RFC 7517, section 8.5; and what buckets and plain file servers say of a file without a known ending.
_TYPES: Final = frozenset(
    {"", "application/json", "application/octet-stream", "binary/octet-stream", "text/plain"}
)


class _Kept(msgspec.Struct, frozen=True):
    """The last answer, and what proves that it still holds."""

    target: Target
    body: bytes
    validators: dict[str, str]


class KeyFetcher:
    """Fetches one source's keys.

    Args:
        issuer: the issuer's URL, where its discovery document is.
        source: `spec.keys.discovery`.
        addresses: where keys may be fetched from.
        resolver: from host and port to addresses.
    """

    def __init__(
        self,
        *,
        issuer: str,
        source: DiscoveryKeys,
        addresses: AddressRules = NOT_THIS_MACHINE,
        resolver: Resolve = resolve,
    ) -> None:
        self._issuer, self._source = issuer, source
        self._addresses, self._resolver = addresses, resolver
        self._found: tuple[Target, float] | None = None
        self._kept: _Kept | None = None

    async def fetch(self, credential: str | None = None) -> bytes:
        """The JWKS as it is served now; from memory where the server says that it is the same.

        Args:
            credential: a bearer token; sent to the host of jwksURL, or of the issuer's URL, and to no other.

        Raises:
            FetchError: there is none that could be taken.
        """
        if credential is not None and not _CREDENTIAL.fullmatch(credential := credential.strip()):
            raise FetchError(
                "the credential is empty, too long or has white space",
                "write the token alone into the Secret",
            )
        try:
            target = await self._target(credential)
            kept = self._kept if self._kept is not None and self._kept.target == target else None
            answer = await self._get(target, credential, kept.validators if kept is not None else {})
            if answer.status == 304 and kept is not None and kept.validators:
                return kept.body
            body = _document(target, answer, credential is not None)
        except FetchError as failed:
            if failed.is_answer:
                # The keys may have moved: look where they are next time.
                self._found = None
            raise
        self._kept = _Kept(target, body, _validators(answer))
        return body

    async def _target(self, credential: str | None) -> Target:
        if self._source.jwks_url is not None:
            return parse_target(self._source.jwks_url)
        if self._found is not None and time.monotonic() < self._found[1]:
            return self._found[0]
        there = parse_target(self._issuer.rstrip("/") + WELL_KNOWN)
        answer = await self._get(there, credential, {})
        document = _document(there, answer, credential is not None)
        target = keys_of_discovery(document, self._issuer, there)
        self._found = target, time.monotonic() + DISCOVERY_SECONDS
        return target

    async def _get(self, target: Target, credential: str | None, validators: dict[str, str]) -> Answer:
        headers = {
            "Accept": "application/jwk-set+json, application/json",
            "Accept-Encoding": "identity",
            "User-Agent": _AGENT,
            **validators,
        }
        if credential is not None:
            headers["Authorization"] = f"Bearer {credential}"
        return await get(
            target,
            ca_bundle=self._source.ca_bundle,
            addresses=self._addresses,
            headers=headers,
            resolver=self._resolver,
        )


def keys_of_discovery(document: bytes, issuer: str, there: Target) -> Target:
    """Where the keys are, as a discovery document says (OpenID Connect Discovery 1.0, sections 3 and 4.3).

    Args:
        document: as it was served.
        issuer: the URL whose document it must be, byte for byte.
        there: where it was served.

    Raises:
        FetchError: it is none, is another issuer's, or names a place on another host.
    """
    try:
        members = parse_json_object(document)
    except EncodingError:
        members = {}
    said, uri = members.get("issuer"), members.get("jwks_uri")
    if not isinstance(said, str) or not isinstance(uri, str):
        detail = f"{there} holds no discovery document with issuer and jwks_uri"
        raise FetchError(detail, "say the URL of the JWKS itself (jwksURL)", is_answer=True)
    if said != issuer:
        detail = f"the discovery document at {there.authority} is of another issuer"
        remedy = "write spec.issuer exactly as the document says it, if it is the cluster that you mean"
        raise FetchError(detail, remedy, is_answer=True)
    try:
        target = parse_target(uri)
    except FetchError:
        detail = f"the jwks_uri of the discovery document at {there.authority} is no https URL"
        raise FetchError(detail, "say the URL of the JWKS itself (jwksURL)", is_answer=True) from None
    if target.origin != there.origin:
        detail = f"the discovery document at {there.authority} says that the keys are at {target.authority}"
        remedy = "say that URL itself (jwksURL), if that host is meant to decide whom you trust"
        raise FetchError(detail, remedy, is_answer=True)
    return target


def _document(target: Target, answer: Answer, had_credential: bool) -> bytes:
    if answer.status != 200:
        raise _refused(target, answer, had_credential)
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES and not (kind.startswith("application/") and kind.endswith("+json")):
        detail = f"{target.authority} answers with a document that is not JSON"
        raise FetchError(detail, "check that the URL is that of a JWKS", is_answer=True)
    return answer.body


def _refused(target: Target, answer: Answer, had_credential: bool) -> FetchError:
    detail = f"{target.authority} answers with HTTP {answer.status}"
    wait = _retry_after(answer.headers.get("retry-after", ""))
    match answer.status:
        case 304:
            return FetchError(f"{detail} to a first question", "serve the JWKS", is_answer=True)
        case 401 | 403:
            remedy = "let strangers read it, or give a credential with credentialSecretRef"
            if had_credential:
                remedy = "put a fresh token into the Secret: a cluster's own dies with the key that signed it"
            return FetchError(detail, remedy, is_answer=True)
        case 429:
            return FetchError(detail, "raise intervalSeconds, or the server's limit", retry_after=wait)
        case status if status >= 500:
            return FetchError(detail, "see the server's own logs", retry_after=wait)
    return FetchError(detail, "check that the URL is that of a JWKS", is_answer=True, retry_after=wait)


def _retry_after(text: str) -> float | None:
    """RFC 9110, section 10.2.3: seconds, or a date."""
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max((moment - datetime.now(UTC)).total_seconds(), 0.0)


def _validators(answer: Answer) -> dict[str, str]:
    """What to ask with next time (RFC 9110, section 13.1); what could break a request is left out."""
    found = {
        "If-None-Match": answer.headers.get("etag", ""),
        "If-Modified-Since": answer.headers.get("last-modified", ""),
    }
    return {name: value for name, value in found.items() if _VALIDATOR.fullmatch(value)}
