# SPDX-License-Identifier: Apache-2.0
"""A desk's admin API as the commands below `watchword desk` ask it: a token first, then the call.

An automation's token is got for each command and kept nowhere; a person's is that of the sign-in. Whatever
the desk says no with is printed in its own words, with what helps and the id by which its audit log knows the
request.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, TypeVar

import click

from watchword.cli.desk import session
from watchword.cli.desk.answers import Document, Page, not_a_desk, read_answer, read_issued
from watchword.cli.desk.desk_http import API, DeskHttp
from watchword.cli.failures import UnusableInput, os_reason
from watchword.cli.options import desk_ca_option, option
from watchword.cli.plain_text import plain

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Shape = TypeVar("_Shape")
_MAX_TOKEN: Final = 16 * 1024
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_EXCHANGE: Final = "/oauth2/token"
_PAGE: Final = 200
# Of a whole list: 100,000 entries of some 600 bytes fit, and a desk that goes on for ever is left.
_LIST_BYTES: Final = 96 * 2**20
_LIST_SECONDS: Final = 600.0


class Found(NamedTuple, Generic[_Shape]):
    """A document as it came, and what the command line reads in it."""

    document: Document
    view: _Shape


admin_url_option: Final = option(
    "--admin-url",
    required=True,
    metavar="URL",
    help="The admin API, such as http://127.0.0.1:8445 behind `kubectl port-forward`.",
)


def desk_timeout_option(command: _Command) -> _Command:
    """How long a desk may take to answer."""
    decorate = option(
        "--timeout-seconds",
        type=click.IntRange(1, 600),
        default=30,
        show_default=True,
        metavar="SECONDS",
        help="How long one answer may take, from its first to its last byte.",
    )
    return decorate(command)


def admin_options(command: _Command) -> _Command:
    """The flags that say which admin API is asked, and as whom."""
    return admin_url_option(_credential_options(command))


def optional_admin_options(command: _Command) -> _Command:
    """The same for a command that can do without an admin API."""
    url = option(
        "--admin-url",
        metavar="URL",
        help="The admin API of a running desk, such as http://127.0.0.1:8445 behind `kubectl port-forward`.",
    )
    return url(_credential_options(command))


def _credential_options(command: _Command) -> _Command:
    for decorate in reversed(
        (
            option("--desk", metavar="URL", help="The desk's public endpoints, where the token comes from."),
            option(
                "--assertion-file",
                metavar="FILE",
                help="What the admin client proves itself by: its projected token for the desk's issuer, as "
                "`kubectl create token --audience ISSUER --bound-object-kind Pod` prints it, or an assertion "
                "by its own key; `-`: standard input.  [default: the token of `watchword desk sign-in`]",
            ),
            option(
                "--admin-token-file",
                metavar="FILE",
                help="An admin token that was got before, instead of --desk and --assertion-file.",
            ),
            desk_ca_option,
            desk_timeout_option,
        )
    ):
        command = decorate(command)
    return command


class AdminApi(DeskHttp):
    """The admin API for one command, with a token."""

    def __init__(
        self,
        *,
        admin_url: str,
        desk: str | None,
        assertion_file: str | None,
        admin_token_file: str | None,
        ca_file: str | None,
        timeout_seconds: int,
    ) -> None:
        """Get a token.

        Raises:
            UnusableInput: a flag is missing, a file cannot be read, or the desk does not answer.
            SystemExit: the desk says no.
        """
        super().__init__("--admin-url", admin_url, ca_file, timeout_seconds)
        public = None if desk is None else DeskHttp("--desk", desk, ca_file, timeout_seconds)
        if admin_token_file is not None and assertion_file is not None:
            raise click.UsageError("Give --assertion-file with --desk, or --admin-token-file alone.")
        if admin_token_file is not None:
            token = _read("--admin-token-file", admin_token_file)
        elif assertion_file is None:
            token = _token_of_sign_in(self.url)
        elif public is None:
            raise click.UsageError("--desk is missing: an assertion is turned into a token there.")
        else:
            token = _token_for(public, _read("--assertion-file", assertion_file))
        self._http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, kind: type[_Shape], /, **query: str | None) -> Found[_Shape]:
        """One document, and what it says; SystemExit where the desk says no."""
        return self._found(self._page(path, query), kind, path)

    def post(self, path: str, kind: type[_Shape], document: Document | None = None) -> Found[_Shape]:
        """The answer to a document, and what it says; SystemExit where the desk says no."""
        body = {} if document is None else {"json": document}
        return self._found(self.asked("POST", f"{API}{path}", **body), kind, path)

    def entries(
        self, path: str, member: str, kind: type[_Shape], at_most: int, /, **query: str | None
    ) -> Iterator[Found[_Shape]]:
        """The entries of a list, page by page.

        Raises:
            UnusableInput: what the desk sends is no list, or one that does not end.
        """
        url, ends = f"{self.url}{API}{path}", time.monotonic() + _LIST_SECONDS
        cursor: str | None = None
        seen: set[str] = set()
        while at_most > 0:
            size = min(at_most, _PAGE)
            document = self._page(path, query | {"limit": str(size), "cursor": cursor})
            listed = document.get(member)
            if not isinstance(listed, list) or len(listed) > size:
                raise not_a_desk(url, f"`{member}` is not a list of at most {size}")
            for each in listed:
                yield self._found(each, kind, path)
            at_most -= len(listed)
            cursor = read_answer(document, Page, url).next_cursor
            if cursor is None:
                return
            if cursor in seen:
                raise not_a_desk(url, "`next_cursor` leads back to a page of before")
            seen.add(cursor)
            if self.received > _LIST_BYTES or time.monotonic() > ends:
                raise UnusableInput(
                    f"{url}: the list has more than {_LIST_BYTES >> 20} MiB, or takes longer than "
                    f"{_LIST_SECONDS:g} s.",
                    "Ask for fewer entries, or for those of one service, subject or event.",
                )

    def _page(self, path: str, query: Mapping[str, str | None]) -> Document:
        given = {name: value for name, value in query.items() if value is not None}
        return self.asked("GET", f"{API}{path}", params=given)

    def _found(self, document: Any, kind: type[_Shape], path: str) -> Found[_Shape]:
        return Found(document, read_answer(document, kind, f"{self.url}{API}{path}"))


def _token_for(desk: DeskHttp, assertion: str) -> str:
    """The admin token that a desk gives for an assertion."""
    form = {
        "grant_type": "client_credentials",
        "client_assertion": assertion,
        "client_assertion_type": _ASSERTION,
    }
    return read_issued(desk.asked("POST", _EXCHANGE, data=form), f"{desk.url}{_EXCHANGE}")


def _token_of_sign_in(url: str) -> str:
    """The token of the person who signed in at an admin URL."""
    found = session.load(url)
    remedy = f"Sign in: watchword desk sign-in --admin-url {url}"
    if found is None:
        raise UnusableInput(
            f"No one is signed in at {url}, and no other credential is given.",
            f"{remedy}. For automation: Give --assertion-file with --desk, or --admin-token-file alone.",
        )
    if found.has_ended:
        raise UnusableInput(f"The sign-in at {url} ended at {found.ends}.", f"{remedy}.")
    return found.access_token


def table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows in columns of equal width, the first of them in capitals."""
    if not rows:
        return ""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def text_of(value: object) -> str:
    """A value of a document in one cell; `-` for nothing."""
    return "-" if value is None or value == "" else plain(value)


def _read(flag: str, path: str) -> str:
    try:
        with click.open_file(path, "r", encoding="ascii") as file:
            text = str(file.read(_MAX_TOKEN + 1)).strip()
    except OSError as error:
        raise UnusableInput(f"{flag} {path} cannot be read: {os_reason(error)}.", "Name a file.") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _MAX_TOKEN or len(text.split()) != 1 or not text.isprintable():
        raise UnusableInput(f"{flag} {path} holds no token.", "Put one token into it, and nothing else.")
    return text
