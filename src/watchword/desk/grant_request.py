# SPDX-License-Identifier: Apache-2.0
"""What a request asks a token to allow: `authorization_details` (RFC 9396), or `scope`, `account`, `project`.

Never both, never none: a default would be a grant that no one asked for. Absent means "no such path",
as in the grants of a TrustedWorkload, and a list that is present is never empty.
"""

import re
from typing import Final

import msgspec

from watchword.desk.forms import Form
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.identity import EncodingError, Grant, parse_json_object
from watchword.trust import EVERY

DETAIL_TYPE: Final = "watchword_grant"
MAX_DETAILS: Final = 8
MAX_NAMES: Final = 200
INVALID_DETAILS: Final = "invalid_authorization_details"
_MEMBERS: Final = frozenset({"type", "actions", "accounts", "projects"})
_SCOPE: Final = re.compile(r"[a-z][a-z0-9-]*(?::[a-z][a-z0-9-]*){1,2}")
_MAX_SCOPE: Final = 128
_MAX_NAME: Final = 120
_PURPOSE: Final = re.compile(r"[a-z0-9-]{1,64}")


class GrantRequest(msgspec.Struct, frozen=True):
    """What is asked for.

    Attributes:
        grants: each of them must be covered whole.
        is_short: it came as `scope`, `account` and `project`.
    """

    grants: tuple[Grant, ...]
    is_short: bool

    @property
    def error(self) -> str:
        """The RFC's `error` for a request of this form that is not covered."""
        return "invalid_scope" if self.is_short else INVALID_DETAILS


def read_grant_request(form: Form) -> GrantRequest | DeskRefusal:
    """Read what a form asks for. Never raises for bad input."""
    details = form.one("authorization_details")
    short = [name for name in ("scope", "account", "project") if form.one(name) is not None]
    if details is not None and short:
        return refuse(DeskReason.TWO_GRANT_FORMS)
    if details is not None:
        return _read_details(details)
    if not short:
        return refuse(DeskReason.NO_GRANT_REQUESTED)
    return _read_short(form)


def read_purpose(form: Form) -> str | DeskRefusal:
    """The purpose that a form asks for; the empty string: none."""
    purpose = form.one("purpose")
    if purpose is None:
        return ""
    return purpose if _PURPOSE.fullmatch(purpose) else refuse(DeskReason.MALFORMED_PURPOSE)


def _read_short(form: Form) -> GrantRequest | DeskRefusal:
    scope, account, project = form.one("scope"), form.one("account"), form.one("project")
    if scope is None:
        return refuse(DeskReason.MISSING_PARAMETER, "The parameter scope is missing or empty.")
    scopes = scope.split(" ")
    if not all(map(_is_scope, scopes)) or len(scopes) > MAX_NAMES:
        return refuse(DeskReason.MALFORMED_SCOPE)
    if len(set(scopes)) != len(scopes):
        return refuse(DeskReason.MALFORMED_SCOPE, "The parameter scope names a scope twice.")
    for name, value in (("account", account), ("project", project)):
        if value is not None and not _is_name(value):
            return refuse(DeskReason.MALFORMED_SCOPE, f"The parameter {name} is not one whole name.")
    if project is not None and account is None:
        return refuse(DeskReason.MALFORMED_SCOPE, "A project is one of an account, and no account is named.")
    grant = Grant(
        tuple(sorted(scopes)),
        () if account is None else (account,),
        () if project is None else (project,),
    )
    return GrantRequest((grant,), is_short=True)


def _read_details(text: str) -> GrantRequest | DeskRefusal:
    try:
        # As the one member of an object: the strict reader takes objects, and knows no repeated name.
        wrapped = parse_json_object(b'{"details":%b}' % text.encode())
    except (EncodingError, UnicodeEncodeError):
        return refuse(DeskReason.MALFORMED_AUTHORIZATION_DETAILS, "authorization_details is not JSON.")
    details = wrapped["details"]
    if len(wrapped) != 1 or not isinstance(details, list) or not 1 <= len(details) <= MAX_DETAILS:
        detail = f"authorization_details is not an array of 1 to {MAX_DETAILS} objects."
        return refuse(DeskReason.MALFORMED_AUTHORIZATION_DETAILS, detail)
    grants: list[Grant] = []
    for place, each in enumerate(details):
        grant = _read_detail(each, f"authorization_details[{place}]")
        if isinstance(grant, DeskRefusal):
            return grant
        grants.append(grant)
    return GrantRequest(tuple(dict.fromkeys(grants)), is_short=False)


def _read_detail(value: object, path: str) -> Grant | DeskRefusal:
    def refused(why: str) -> DeskRefusal:
        return refuse(DeskReason.MALFORMED_AUTHORIZATION_DETAILS, f"{path}{why}")

    if not isinstance(value, dict):
        return refused(" is not an object.")
    if value.get("type") != DETAIL_TYPE:
        return refused(f".type is not {DETAIL_TYPE}.")
    if not _MEMBERS.issuperset(value):
        return refused(f" has a member besides {', '.join(sorted(_MEMBERS))}.")
    names: dict[str, tuple[str, ...]] = {}
    for member in ("actions", "accounts", "projects"):
        listed = value.get(member)
        if listed is None and member not in value and member != "actions":
            names[member] = ()
            continue
        if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_NAMES:
            return refused(f".{member} is not a list of 1 to {MAX_NAMES} names.")
        is_fit = _is_scope if member == "actions" else _is_name
        if not all(isinstance(each, str) and is_fit(each) for each in listed):
            return refused(f".{member} holds something other than a whole name.")
        if len(set(listed)) != len(listed) or (EVERY in listed and len(listed) > 1):
            return refused(f'.{member} names something twice, or has "*" next to names.')
        names[member] = tuple(sorted(listed))
    if names["projects"] and not names["accounts"]:
        return refused(".projects is there without accounts, and a project is one of an account.")
    return Grant(names["actions"], names["accounts"], names["projects"])


def _is_scope(text: str) -> bool:
    return len(text) <= _MAX_SCOPE and _SCOPE.fullmatch(text) is not None


def _is_name(text: str) -> bool:
    """One whole name, or `*` alone: the form that names have in the grants of a TrustedWorkload."""
    if text == EVERY:
        return True
    is_plain = text.isprintable() and "*" not in text and "," not in text
    return 1 <= len(text) <= _MAX_NAME and is_plain
