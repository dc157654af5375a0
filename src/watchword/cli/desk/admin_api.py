# SPDX-License-Identifier: Apache-2.0
"""A desk's admin API as the commands below `watchword desk` ask it: a token first, then the call.

An automation's token is got for each command and kept nowhere; a person's is that of the sign-in. Whatever
the desk says no with is printed in its own words, with what helps and the id by which its audit log knows the
request.
"""

import ssl
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

import click

from watchword.cli.desk import session
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say
from watchword.cli.options import desk_ca_option, option

_Command = TypeVar("_Command", bound=Callable[..., Any])
_TIMEOUT_SECONDS: Final = 30.0
_MAX_TOKEN: Final = 16 * 1024
_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_PAGE: Final = 200

Document = dict[str, Any]


admin_url_option: Final = option(
    "--admin-url",
    required=True,
    metavar="URL",
    help="The admin API, such as http://127.0.0.1:8445 behind `kubectl port-forward`.",
)


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
        )
    ):
        command = decorate(command)
    return command


class DeskHttp:
    """An admin API as one command asks it. Without a repr of its own, so that none shows the token."""

    def __init__(self, admin_url: str, ca_file: str | None, token: str = "") -> None:
        """Ask with a token, or without one.

        Raises:
            UnusableInput: the URL is none, or the HTTP client is not installed.
        """
        _require_url("--admin-url", admin_url)
        try:
            import httpx
        except ImportError:
            raise UnusableInput(
                "The HTTP client is not installed.", "Install it: pip install 'watchword[client]'."
            ) from None
        self._url, self._errors = admin_url.rstrip("/"), httpx.HTTPError
        verify = True if ca_file is None else ssl.create_default_context(cafile=ca_file)
        self._http = httpx.Client(timeout=_TIMEOUT_SECONDS, verify=verify, follow_redirects=False)
        click.get_current_context().call_on_close(self._http.close)
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    def asked(self, method: str, path: str, **request: Any) -> Document:
        """The answer of an operation; SystemExit where the desk says no."""
        return self._asked(method, f"{self._url}/admin/v1{path}", **request)

    def _asked(self, method: str, url: str, **request: Any) -> Document:
        try:
            answer = self._http.request(method, url, **request)
            document = answer.json()
        except self._errors as error:
            raise UnusableInput(
                f"{url} does not answer ({type(error).__name__}).",
                "Check the URL, the port-forward, and --ca-file.",
            ) from None
        except ValueError:
            raise UnusableInput(
                f"{url} does not answer as a desk does.", "Check the URL: the admin API has its own port."
            ) from None
        if not isinstance(document, dict):
            raise UnusableInput(f"{url} does not answer as a desk does.", "Check the URL.")
        if answer.status_code != 200:
            said = {name: _plain(document.get(name)) for name in ("error_description", "reason", "remedy")}
            say(f"{said['error_description']} ({said['reason']}, {answer.status_code})")
            say(f"Remedy: {said['remedy']}")
            say(f"Request id: {_plain(document.get('request_id'))}")
            sys.exit(ANSWER_IS_NO)
        return document


class AdminApi(DeskHttp):
    """The admin API for one command, with a token."""

    def __init__(
        self,
        admin_url: str,
        desk: str | None,
        assertion_file: str | None,
        admin_token_file: str | None,
        ca_file: str | None,
    ) -> None:
        """Get a token.

        Raises:
            UnusableInput: a flag is missing, a file cannot be read, or the desk does not answer.
            SystemExit: the desk says no.
        """
        super().__init__(admin_url, ca_file)
        if desk is not None:
            _require_url("--desk", desk)
        if admin_token_file is not None and assertion_file is not None:
            raise click.UsageError("Give --assertion-file with --desk, or --admin-token-file alone.")
        if admin_token_file is not None:
            token = _read("--admin-token-file", admin_token_file)
        elif assertion_file is None:
            token = _token_of_sign_in(admin_url.rstrip("/"))
        elif desk is None:
            raise click.UsageError("--desk is missing: an assertion is turned into a token there.")
        else:
            token = self._token(desk.rstrip("/"), _read("--assertion-file", assertion_file))
        self._http.headers["Authorization"] = f"Bearer {token}"

    def get(self, path: str, **query: str | None) -> Document:
        """One document; SystemExit where the desk says no."""
        given = {name: value for name, value in query.items() if value is not None}
        return self._asked("GET", f"{self._url}/admin/v1{path}", params=given)

    def post(self, path: str, document: Mapping[str, Any] | None = None) -> Document:
        """The answer to a document; SystemExit where the desk says no."""
        body = {} if document is None else {"json": dict(document)}
        return self._asked("POST", f"{self._url}/admin/v1{path}", **body)

    def entries(self, path: str, member: str, at_most: int, **query: str | None) -> Iterator[Document]:
        """The entries of a list, page by page."""
        cursor: str | None = None
        while at_most > 0:
            page = self.get(path, limit=str(min(at_most, _PAGE)), cursor=cursor, **query)
            yield from page[member]
            at_most -= len(page[member])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def _token(self, desk: str, assertion: str) -> str:
        form = {
            "grant_type": "client_credentials",
            "client_assertion": assertion,
            "client_assertion_type": _ASSERTION,
        }
        return str(self._asked("POST", f"{desk}/oauth2/token", data=form).get("access_token", ""))


def _require_url(flag: str, url: str) -> None:
    if not url.startswith(("https://", "http://")):
        raise UnusableInput(f"{flag} {url} is no URL.", "Begin it with https:// or http://.")


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
    return "-" if value is None or value == "" else _plain(value)


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else ascii(text)


def _read(flag: str, path: str) -> str:
    try:
        with click.open_file(path, "r", encoding="ascii") as file:
            text = str(file.read(_MAX_TOKEN + 1)).strip()
    except OSError as error:
        raise UnusableInput(f"{flag} {path} cannot be read: {os_reason(error)}.", "Name a file.") from None
    except UnicodeDecodeError:
        text = ""
    if not text or len(text) > _MAX_TOKEN or len(text.split()) != 1:
        raise UnusableInput(f"{flag} {path} holds no token.", "Put one token into it, and nothing else.")
    return text
