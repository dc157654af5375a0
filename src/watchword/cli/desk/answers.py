# SPDX-License-Identifier: Apache-2.0
"""What a desk answers, as far as the command line reads it, and what it must look like.

Members that are not named here may be there: a desk may be newer than the command line.
"""

from typing import Annotated, Any, Final, TypeVar

import msgspec

from watchword.cli.failures import UnusableInput
from watchword.cli.plain_text import plain

Document = dict[str, Any]
_Shape = TypeVar("_Shape")

ID_PATTERN: Final = r"^[0-9a-f]{32}\Z"
SUBJECT_PATTERN: Final = r"^client:[a-z0-9][a-z0-9.-]{0,252}\Z"
_COMPACT: Final = r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\Z"
_CompactToken = Annotated[str, msgspec.Meta(pattern=_COMPACT, max_length=16 * 1024)]


class NotADeskError(UnusableInput):
    """What answers is no desk, or one of another version."""


class Refused(msgspec.Struct, frozen=True):
    """A no."""

    error: str
    error_description: str
    reason: str
    remedy: str
    request_id: str


class Issued(msgspec.Struct, frozen=True):
    """A token. Its repr does not show it."""

    access_token: _CompactToken
    token_type: str

    def __repr__(self) -> str:
        return "Issued()"


class Provider(msgspec.Struct, frozen=True):
    """A provider that people sign in at, and by which client id."""

    issuer: str
    client_id: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class Begun(msgspec.Struct, frozen=True):
    """A sign-in that was begun."""

    issuer: str
    providers: list[Provider]
    ticket: Annotated[str, msgspec.Meta(pattern=r"^[!-~]{1,16384}\Z")]


class AdminToken(msgspec.Struct, frozen=True):
    """What an admin token says of itself."""

    jti: Annotated[str, msgspec.Meta(pattern=ID_PATTERN)]
    sub: Annotated[str, msgspec.Meta(pattern=SUBJECT_PATTERN)]
    iat: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    exp: Annotated[int, msgspec.Meta(ge=0, le=2**53)]
    watchword: "Purpose"


class Purpose(msgspec.Struct, frozen=True):
    """What a desk says that a token of its is."""

    kind: str


class Token(msgspec.Struct, frozen=True):
    """A token in a list."""

    token_id: str
    kind: str
    state: str
    expires_at: str
    subject: str
    service: str | None = None


class Standing(msgspec.Struct, frozen=True):
    """Whether a client is an admin; `counts` where it was read just now."""

    requested: bool
    granted_by: str | None = None
    counts: bool | None = None
    problem: str | None = None


class Client(msgspec.Struct, frozen=True):
    """A client."""

    name: str
    type: str
    usable: bool
    authentication: dict[str, Any]
    services: list[str]
    admin: Standing | None = None


class Entry(msgspec.Struct, frozen=True):
    """An audit entry."""

    entry: dict[str, Any]


class Head(msgspec.Struct, frozen=True):
    """The newest audit entry's number and hash."""

    head: Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,20}:[0-9a-f]{64}\Z")]


class Agent(msgspec.Struct, frozen=True):
    """A registration of an agent."""

    id: str
    kind: str
    state: str
    person: str | None
    made_at: str
    expires_at: str


class Condition(msgspec.Struct, frozen=True):
    """A condition of an exchange; `holds` is None where it was not looked at."""

    name: str
    holds: bool | None
    detail: str | None = None
    remedy: str | None = None


class Explanation(msgspec.Struct, frozen=True):
    """A dry run of an exchange."""

    allowed: bool
    workload: str | None
    conditions: list[Condition]


class Page(msgspec.Struct, frozen=True):
    """Where a list goes on; None: it ends."""

    next_cursor: Annotated[str, msgspec.Meta(max_length=1024)] | None


def read_answer(document: object, kind: type[_Shape], url: str) -> _Shape:
    """A document as what it must be.

    Raises:
        NotADeskError: it is something else; the message names the member and its type.
    """
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise not_a_desk(url, str(error)) from None


def read_issued(document: Document, url: str) -> str:
    """The Bearer token that a desk issued. Raises NotADeskError."""
    issued = read_answer(document, Issued, url)
    if issued.token_type.lower() != "bearer":
        raise not_a_desk(url, f"`token_type` is {issued.token_type!a} and not 'Bearer'")
    return issued.access_token


def read_refusal(status: int, document: Document, url: str) -> Refused:
    """Why a desk says no. Raises NotADeskError where the answer has another form."""
    try:
        return msgspec.convert(document, Refused)
    except msgspec.ValidationError:
        raise not_a_desk(url, f"it answers {status} without a reason and a remedy") from None


def not_a_desk(url: str, why: str) -> NotADeskError:
    """What to raise where an answer is no desk's: the URL, and what is wrong with it."""
    return NotADeskError(
        f"{plain(url)} does not answer as a desk does: {plain(why)}.",
        "Check the URL: the admin API has its own port. Where it is right, see that the desk runs the "
        "release of this command line.",
    )
