# SPDX-License-Identifier: Apache-2.0
"""A usage report through the API of a gate: all accounts page by page, with the caller's own token.

The gate says with each page whether it has all accounts or those that the token was granted. A report of the
latter is not what was asked for, and is refused unless that was asked for too.
"""

import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
import msgspec

from watchword.cli.failures import UnusableInput, warn
from watchword.cli.usage.report_sources import Page, ReportFailed, meters_changed
from watchword.client import TokenUnavailable, WatchwordAuth
from watchword.usage import MAX_ACCOUNTS, Aggregation, Dimension, Meter, UsageAnswer, UsageQuery
from watchword.usage.groups import OVERFLOW
from watchword.usage.times import day_number, parse_date

if TYPE_CHECKING:
    import ssl

    from watchword.client import TokenSource

_T = TypeVar("_T")
DEFAULT_PATH: Final = "/api/internal"
_TIMEOUT_SECONDS: Final = 60.0
_AGAIN: Final = frozenset({429, 502, 503, 504})
_LONGEST_WAIT_SECONDS: Final = 30
# A page has at most 100 accounts and 10,000 amounts of groups.
_MAX_BYTES: Final = 64 * 2**20


class _Account(msgspec.Struct):
    account: str
    meters: dict[str, Decimal]
    groups: dict[str, list[dict[str, msgspec.Raw]]] = {}
    incomplete_before: dict[str, str] = {}


class _Accounts(msgspec.Struct):
    accounts: list[_Account]
    next: str | None = None


class _Meter(msgspec.Struct):
    name: str
    event_type: str
    aggregation: Aggregation
    value: str | None = None
    unit: str = ""
    group_by: list[str] = []
    since: str = ""
    complete_from: str = ""


class _Meters(msgspec.Struct):
    meters: list[_Meter]
    late_days: int | None = None


class _Problem(msgspec.Struct):
    reason: str = ""
    title: str = ""
    detail: str = ""
    remedy: str = ""


class GateSource:
    """The read model of one gate."""

    def __init__(
        self,
        url: str,
        token: "TokenSource",
        verify: "ssl.SSLContext | bool",
        *,
        wait_seconds: int,
        only_granted: bool,
    ) -> None:
        """Read a gate at a URL. `wait_seconds`: how long to go on asking one that does not answer.

        Raises UnusableInput when the URL cannot be asked.
        """
        self._base = _base_of(url)
        self._client = httpx.Client(
            auth=WatchwordAuth(token, raise_refusals=False),
            verify=verify,
            timeout=_TIMEOUT_SECONDS,
            trust_env=False,
        )
        self._wait_seconds, self._only_granted = wait_seconds, only_granted
        self._meters: _Meters | None = None

    def close(self) -> None:
        """Give up the connection."""
        self._client.close()

    @property
    def late_days(self) -> int | None:
        """How many days ago an event may be."""
        return self._read_meters().late_days

    def meters(self) -> list[Meter]:
        """Give the meters in force, by name."""
        found = sorted(self._read_meters().meters, key=lambda meter: meter.name)
        try:
            return [
                Meter(
                    each.name,
                    each.event_type,
                    each.aggregation,
                    each.value,
                    tuple(Dimension(name, "") for name in each.group_by),
                    unit=each.unit,
                )
                for each in found
            ]
        except ValueError:
            raise self._not_a_gate() from None

    def pages(self, query: UsageQuery) -> Iterator[Page]:
        """Read all accounts."""
        before, limit, after = self._read_meters(), MAX_ACCOUNTS, ""
        while True:
            asked = {"from": str(query.start), "to": str(query.end), "limit": str(limit), "after": after}
            if query.group_by:
                asked["group_by"] = ",".join(query.group_by)
            answer, body = self._ask("/usage", asked)
            if answer.status_code == 400 and limit > 1 and _problem(body).reason == "too_many_groups":
                limit //= 2
                continue
            page = self._decoded(answer, body, _Accounts)
            self._see_whose(answer)
            names = [after, *(each.account for each in page.accounts)]
            if any(one.encode() >= other.encode() for one, other in pairwise(names)):
                raise self._not_a_gate()
            yield [(each.account, _answer(each, query)) for each in page.accounts]
            if page.next is None:
                break
            if page.next.encode() <= after.encode():
                raise self._not_a_gate()
            after = page.next
        self._meters = None
        if _definitions(self._read_meters(), query) != _definitions(before, query):
            raise meters_changed()

    def _see_whose(self, answer: httpx.Response) -> None:
        whose = answer.headers.get("X-Watchword-Accounts")
        if whose == "all" or self._only_granted:
            return
        if whose == "granted":
            raise ReportFailed(
                "The token may not read all accounts: its grants name some, and the report would have only "
                "those.",
                "Give its TrustedWorkload a grant of account:usage:read with accounts: ['*'] and no "
                "projects, or say --only-granted.",
            )
        raise ReportFailed(
            "The gate does not say whether its pages have all accounts.",
            "Upgrade the gate, or say --only-granted and compare the number of accounts yourself.",
        )

    def _read_meters(self) -> _Meters:
        if self._meters is None:
            self._meters = self._decoded(*self._ask("/usage/meters", {}), _Meters)
        return self._meters

    def _ask(self, path: str, asked: Mapping[str, str]) -> tuple[httpx.Response, bytes]:
        """Ask until there is an answer other than "later", or the time to wait is over."""
        deadline = time.monotonic() + self._wait_seconds
        while True:
            wait, what = 1, ""
            try:
                with self._client.stream("GET", f"{self._base}{path}", params=dict(asked)) as answer:
                    body = self._body(answer)
                if answer.status_code not in _AGAIN:
                    return answer, body
                after = answer.headers.get("Retry-After", "")
                wait = min(int(after), _LONGEST_WAIT_SECONDS) if after.isdigit() and len(after) < 6 else 1
                what = f"it answers {answer.status_code} {_problem(body).reason}".rstrip()
            except TokenUnavailable as error:
                raise UnusableInput(f"--token-file: {error.problem}", error.remedy) from None
            except httpx.TransportError as error:
                if "CERTIFICATE_VERIFY_FAILED" in str(error):
                    raise UnusableInput(
                        f"--gate: the certificate of {self._base} is of no CA that is known here, or for "
                        "another name.",
                        "Name its CA with --ca-file FILE, and the gate by a name of its certificate.",
                    ) from None
                what = f"{type(error).__name__}: it does not answer"
            if time.monotonic() + wait > deadline:
                raise ReportFailed(
                    f"--gate {self._base}: {what}.",
                    "See that it runs and can be reached, and run the same command again; --wait-seconds "
                    "asks for longer, --ca-file names the CA of its certificate.",
                )
            warn(f"{what}; waiting")
            time.sleep(wait)

    def _body(self, answer: httpx.Response) -> bytes:
        body = bytearray()
        for part in answer.iter_bytes():
            body += part
            if len(body) > _MAX_BYTES:
                raise self._not_a_gate()
        return bytes(body)

    def _decoded(self, answer: httpx.Response, body: bytes, kind: type[_T]) -> _T:
        if answer.status_code == 200:
            try:
                return msgspec.json.decode(body, type=kind)
            except msgspec.MsgspecError:
                raise self._not_a_gate() from None
        found = _problem(body)
        if not found.reason:
            raise self._not_a_gate(f" It answers {answer.status_code}.")
        raise ReportFailed(
            f"The gate says no ({answer.status_code} {found.reason}): {found.detail or found.title}",
            found.remedy or "See docs/reference/reasons.md for this reason.",
        )

    def _not_a_gate(self, more: str = "") -> UnusableInput:
        return UnusableInput(
            f"--gate: {self._base} is not the usage read model of a gate.{more}",
            f"Give its URL with the service's spec.usage.basePath, such as https://HOST:8443{DEFAULT_PATH}.",
        )


def _base_of(text: str) -> str:
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        url = httpx.URL()
    if url.scheme not in ("http", "https") or not url.host or url.query or url.fragment or url.userinfo:
        # Not repeated: it may hold a password.
        raise UnusableInput(
            "--gate: it is not a URL with a scheme and a host, and nothing but a path after it.",
            f"Give one such as https://tuist-server.tuist.svc:8443{DEFAULT_PATH}.",
        )
    return str(url).rstrip("/") + (DEFAULT_PATH if url.path == "/" else "")


def _problem(body: bytes) -> _Problem:
    try:
        return msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:
        return _Problem()


def _answer(found: _Account, query: UsageQuery) -> UsageAnswer:
    groups = {
        name: {_group(entry, query): Decimal(bytes(entry["value"]).decode()) for entry in entries}
        for name, entries in found.groups.items()
    }
    first_days = {name: day_number(parse_date(text[:10])) for name, text in found.incomplete_before.items()}
    return UsageAnswer(found.meters, groups=groups, first_days=first_days)


def _group(entry: Mapping[str, msgspec.Raw], query: UsageQuery) -> str:
    if "overflow" in entry:
        return OVERFLOW
    return "[" + ",".join(bytes(entry[name]).decode() for name in query.group_by) + "]"


def _definitions(found: _Meters, query: UsageQuery) -> list[tuple[Any, ...]]:
    start = f"{query.start}T00:00:00Z"
    return sorted(
        (m.name, m.event_type, m.aggregation, m.value or "", m.unit, m.since, max(start, m.complete_from))
        for m in found.meters
    )
