# SPDX-License-Identifier: Apache-2.0
"""How commands ask a desk: each answer is bounded in time and in bytes, and is a JSON object or an error.

A desk may be anything that listens at the URL. No token goes through a proxy that could read it, and none
follows a redirect.
"""

import ssl
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from watchword.cli.desk.answers import Document, Refused, not_a_desk, read_refusal
from watchword.cli.desk.urls import checked_url, is_here
from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, say
from watchword.cli.plain_text import plain
from watchword.identity import EncodingError, parse_json_object

if TYPE_CHECKING:
    import httpx

# A page of a list has 200 entries of a few KiB.
MAX_BYTES: Final = 4 * 2**20
API: Final = "/admin/v1"
# What is read is bounded as it comes, not as it would be unpacked.
_HEADERS: Final = {"Accept": "application/json", "Accept-Encoding": "identity"}


class DeskHttp:
    """A desk as one command asks it. Without a repr of its own, so that none shows the token.

    Attributes:
        url: where it is asked.
        received: how many bytes of answers it sent.
    """

    def __init__(
        self, flag: str, url: str, ca_file: str | None, timeout_seconds: float, token: str = ""
    ) -> None:
        """Ask at a URL, with a token or without one.

        Args:
            flag: which flag the URL is from.
            url: the admin API, or the desk's public endpoints.
            ca_file: the CA of its certificate; None: those that this machine trusts.
            timeout_seconds: how long one answer may take, from the first to the last byte.
            token: what it is asked with.

        Raises:
            UnusableInput: the URL is none, or the HTTP client is not installed.
        """
        self.url, self._seconds = checked_url(flag, url), timeout_seconds
        try:
            import httpx

            from watchword.client import deadline
        except ImportError:
            raise UnusableInput(
                "The HTTP client is not installed.", "Install it: pip install 'watchword[client]'."
            ) from None
        self.received, self._error = 0, httpx.HTTPError
        self._within, self._timeouts = deadline.within, (deadline.DeadlineError, httpx.TimeoutException)
        self._http = _client(self.url, ca_file, timeout_seconds)
        click.get_current_context().call_on_close(self._http.close)
        if token:
            self._http.headers["Authorization"] = f"Bearer {token}"

    def asked(self, method: str, path: str, **request: Any) -> Document:
        """The document of a yes. SystemExit where the desk says no, UnusableInput where no desk answers."""
        status, document = self.answered(method, path, **request)
        if status != 200:
            tell(read_refusal(status, document, f"{self.url}{path}"), status)
            sys.exit(ANSWER_IS_NO)
        return document

    def answered(self, method: str, path: str, **request: Any) -> tuple[int, Document]:
        """The status and the document of an answer. Raises UnusableInput where no desk answers."""
        url = f"{self.url}{path}"
        try:
            status, body = self._within(self._seconds, lambda: self._exchange(method, url, request))
        except self._timeouts:
            raise UnusableInput(
                f"{url} has not answered whole after {self._seconds:g} s.",
                "Check the URL and the port-forward; --timeout-seconds gives more time.",
            ) from None
        except self._error as error:
            raise UnusableInput(
                f"{url} does not answer ({type(error).__name__}).",
                "Check the URL, the port-forward, and --ca-file.",
            ) from None
        self.received += len(body)
        if len(body) > MAX_BYTES:
            raise not_a_desk(url, f"its answer has more than {MAX_BYTES} bytes")
        try:
            return status, parse_json_object(body)
        except EncodingError:
            raise not_a_desk(url, f"it answers {status} and no JSON object") from None

    def _exchange(self, method: str, url: str, request: dict[str, Any]) -> tuple[int, bytes]:
        with self._http.stream(method, url, **request) as answer:
            body = bytearray()
            for part in answer.iter_raw():
                body += part
                if len(body) > MAX_BYTES:
                    break
            return answer.status_code, bytes(body)


def tell(refused: Refused, status: int) -> None:
    """Print a desk's no in its own words, with what helps and the id by which its audit log knows it."""
    say(f"{plain(refused.error_description)} ({plain(refused.reason)}, {status})")
    say(f"Remedy: {plain(refused.remedy)}")
    say(f"Request id: {plain(refused.request_id)}")


def _client(url: str, ca_file: str | None, timeout_seconds: float) -> "httpx.Client":
    import httpx

    is_tls = url.startswith("https://")
    # A proxy of the environment passes TLS on as it is. What goes in plain text it would read, token
    # included; and what is on this machine it does not reach.
    may_use_proxy = is_tls and not is_here(url)
    verify = httpx.create_ssl_context() if is_tls else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if ca_file is not None:
        try:
            verify = ssl.create_default_context(cafile=ca_file)
        except OSError:
            raise UnusableInput(
                f"--ca-file {ca_file} holds no certificate.", "Name a file with certificates in PEM."
            ) from None
    return httpx.Client(
        verify=verify,
        trust_env=may_use_proxy,
        timeout=timeout_seconds,
        follow_redirects=False,
        headers=_HEADERS,
    )
