# SPDX-License-Identifier: Apache-2.0
"""Desk tokens that were taken back, as a desk writes them down and as each gate hears of them.

A token is listed by its `jti` for as long as any gate may take it: until its `exp`, and MAX_SKEW_SECONDS
more. A subject with many of them gets one line in place of them all, which refuses whatever was issued to it
until then: minting and revoking in a loop fills nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from watchword.identity.desk_claims import DeskClaims

# What a ConfigMap holds it under, in the desk's namespace and next to a service's bundle alike.
REVOCATIONS_ENTRY: Final = "revocations.json"
MAX_TOKENS_OF_SUBJECT: Final = 64
# Well below what a ConfigMap takes, since names and quotes come on top.
MAX_REVOCATION_BYTES: Final = 900_000
# A gate takes a token for so long after its `exp` at most: the largest `spec.token.clockSkewSeconds`. All who
# list revocations keep each of them for so long, whatever the service asks for now: it may ask for more.
MAX_SKEW_SECONDS: Final = 300
_Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class RevokedToken(msgspec.Struct, frozen=True, gc=False):
    """One token that was taken back.

    Attributes:
        token_id: its `jti`.
        subject: its `sub`.
        issued_at: its `iat`, seconds since the epoch.
        expires_at: its `exp`.
    """

    token_id: str
    subject: str
    issued_at: int
    expires_at: int


class RevokedSubject(msgspec.Struct, frozen=True, gc=False, forbid_unknown_fields=True, rename="camel"):
    """All tokens of one subject that were issued before a time.

    Attributes:
        issued_before: seconds since the epoch.
        until: the last `exp` of these tokens; MAX_SKEW_SECONDS after it, the line can go.
    """

    issued_before: int
    until: int


class Revocations(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What was taken back of one service's tokens.

    Attributes:
        tokens: `exp` by `jti`.
        subjects: lines by `sub`.
    """

    tokens: dict[_Text, int] = {}
    subjects: dict[_Text, RevokedSubject] = {}


class DeskDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What a desk writes down: only the desk does, and whatever it says, the operator only takes away by it.

    Attributes:
        services: what was taken back, by `namespace/name` of the ProtectedService.
        schema_version: 1.
    """

    services: dict[_Text, Revocations] = {}
    schema_version: int = 1


class ServiceDocument(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """What the gates of one service read.

    Attributes:
        service: `namespace/name` of the ProtectedService.
        desk: `namespace/name` of the TokenDesk: another desk's list says nothing about what this one revoked.
        revocations: what was taken back.
        schema_version: 1.
    """

    service: _Text
    desk: _Text
    revocations: Revocations = Revocations()
    schema_version: int = 1


class RevocationsError(ValueError):
    """A document that lists no revocations; the message says why."""


_encoder: Final = msgspec.json.Encoder(order="deterministic")
_desk_decoder: Final = msgspec.json.Decoder(DeskDocument)
_service_decoder: Final = msgspec.json.Decoder(ServiceDocument)


def may_pass(expires_at: float, now: float) -> bool:
    """Whether a gate may still take a token with this `exp`; both in seconds since the epoch."""
    return expires_at + MAX_SKEW_SECONDS > now


def compact(tokens: Iterable[RevokedToken], now: float, *, limit: int = MAX_TOKENS_OF_SUBJECT) -> Revocations:
    """What gates of one service need to know of these tokens.

    Args:
        tokens: those that were taken back for it, in any order.
        now: seconds since the epoch; tokens that no gate takes any more are left out.
        limit: how many such tokens a subject may have listed one by one.
    """
    living: dict[str, list[RevokedToken]] = {}
    for token in tokens:
        if may_pass(token.expires_at, now):
            living.setdefault(token.subject, []).append(token)
    listed: dict[str, int] = {}
    subjects: dict[str, RevokedSubject] = {}
    for subject, held in living.items():
        if len(held) <= limit:
            listed |= {each.token_id: each.expires_at for each in held}
        else:
            # Times are whole seconds: what was issued in the very second of the last one goes too.
            subjects[subject] = RevokedSubject(
                max(each.issued_at for each in held) + 1, max(each.expires_at for each in held)
            )
    return Revocations(listed, subjects)


def desk_document(tokens: Mapping[str, Iterable[RevokedToken]], now: float) -> bytes:
    """What a desk writes down, by service; it fits a ConfigMap, if need be with a line for each subject.

    Args:
        tokens: those that were taken back, by `namespace/name` of the service that they are for.
        now: seconds since the epoch.

    Raises:
        RevocationsError: not even that fits.
    """
    held = {service: list(each) for service, each in tokens.items()}
    limit = MAX_TOKENS_OF_SUBJECT
    while True:
        found = {service: compact(each, now, limit=limit) for service, each in held.items()}
        services = {service: each for service, each in found.items() if each.tokens or each.subjects}
        data = _encoder.encode(DeskDocument(services))
        if len(data) <= MAX_REVOCATION_BYTES:
            return data
        if limit == 0:
            raise RevocationsError(f"{len(data)} bytes of revocations fit no ConfigMap")
        limit //= 4


def service_document(service: str, desk: str, revocations: Revocations) -> bytes:
    """What the gates of one service read.

    Args:
        service: `namespace/name`.
        desk: `namespace/name` of the TokenDesk.
        revocations: what was taken back.
    """
    return _encoder.encode(ServiceDocument(service, desk, revocations))


def read_desk_document(data: bytes) -> DeskDocument:
    """Read what a desk wrote down.

    Raises:
        RevocationsError: it is not of this form.
    """
    try:
        found = _desk_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise RevocationsError("not a desk's list of revocations") from None
    _refuse_other_versions(found.schema_version)
    return found


def read_service_document(data: bytes) -> ServiceDocument:
    """Read what is for the gates of one service.

    Raises:
        RevocationsError: it is not of this form.
    """
    try:
        found = _service_decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise RevocationsError("not a service's list of revocations") from None
    _refuse_other_versions(found.schema_version)
    return found


def _refuse_other_versions(version: int) -> None:
    if version != 1:
        raise RevocationsError(f"schemaVersion is {version}, and 1 is known here")


class RevokedSet:
    """What is known to be taken back, added up over time: a shorter list brings nothing back.

    Attributes:
        is_known: whether a list was read, or none is to be expected.
    """

    def __init__(self, *, is_known: bool = True) -> None:
        """Know nothing to be revoked. `is_known`: False where a list is still to come."""
        self.is_known = is_known
        self._tokens: dict[str, int] = {}
        self._subjects: dict[str, RevokedSubject] = {}

    def __len__(self) -> int:
        return len(self._tokens) + len(self._subjects)

    def add(self, revocations: Revocations, now: float) -> bool:
        """Add what is listed, and forget what no gate takes any more; whether anything is new.

        Args:
            revocations: the list.
            now: seconds since the epoch.
        """
        self.is_known = True
        tokens = {token: end for token, end in self._tokens.items() if may_pass(end, now)}
        subjects = {name: line for name, line in self._subjects.items() if may_pass(line.until, now)}
        is_new = False
        for token, end in revocations.tokens.items():
            if may_pass(end, now) and token not in tokens:
                tokens[token], is_new = end, True
        for name, line in revocations.subjects.items():
            known = subjects.get(name)
            if not may_pass(line.until, now) or known == line:
                continue
            wider = line
            if known is not None:
                before, until = max(line.issued_before, known.issued_before), max(line.until, known.until)
                wider = RevokedSubject(before, until)
            subjects[name], is_new = wider, is_new or wider != known
        self._tokens, self._subjects = tokens, subjects
        return is_new

    def covers(self, claims: DeskClaims) -> bool:
        """Whether a token is among them."""
        if claims.token_id in self._tokens:
            return True
        line = self._subjects.get(claims.subject)
        return line is not None and claims.issued_at < line.issued_before
