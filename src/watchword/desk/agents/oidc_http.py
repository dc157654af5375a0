# SPDX-License-Identifier: Apache-2.0
"""What the desk asks of OpenID providers: discovery, tokens, keys. Bounded, and at no address but theirs.

The providers are those that the TokenDesk names. Redirects are not followed, answers are bounded, and what a
discovery document names must be HTTPS, or on this machine where the issuer itself is.
"""

import base64
import http.client
import io
import math
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from watchword.identity import EncodingError, Key, load_key, parse_json_object

_MAX_BYTES: Final = 256 * 1024
# From the look-up of the name to the last byte: a trickle meets it like a silence.
DEADLINE_SECONDS: Final = 5.0
_FRESH_SECONDS: Final = 600.0
# Keys are asked for again at most so often for a key id that is not known.
_AGAIN_SECONDS: Final = 30.0
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


class ProviderError(Exception):
    """A provider does not answer as it should; the message says how, without anything secret."""


class Endpoints(msgspec.Struct, frozen=True):
    """What a provider's discovery document names (OpenID Connect Discovery 1.0, section 3).

    `names_itself`: it says that its answers at the redirect URI have `iss` (RFC 9207, section 3).
    """

    authorization: str
    token: str
    jwks: str
    names_itself: bool = False

    @property
    def origin(self) -> str:
        """The origin of the page that people sign in at."""
        parts = urlsplit(self.authorization)
        return f"{parts.scheme}://{parts.netloc}"


class _Known(msgspec.Struct):
    endpoints: Endpoints
    read_at: float
    keys: tuple[Key, ...] = ()
    keys_at: float = -math.inf


class Providers:
    """Asks providers, and remembers for ten minutes what they said.

    Methods block, but for those about what is known, and none for longer than the deadline, but for the
    look-up of a name, which nothing here can end.
    """

    def __init__(self, *, deadline_seconds: float = DEADLINE_SECONDS) -> None:
        """Give each question so many seconds."""
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()
        self._deadline_seconds = deadline_seconds

    def known_endpoints(self, issuer: str) -> Endpoints | None:
        """A provider's endpoints, as it said them a while ago; None: it has to be asked."""
        known = self._known_provider(issuer)
        return None if known is None else known.endpoints

    def known_keys(self, issuer: str, kid: object) -> tuple[Key, ...] | None:
        """What `keys` answers, as the provider said it a while ago; None: it has to be asked."""
        with self._lock:
            known = self._known.get(issuer)
        if known is None:
            return None
        found, age = _of(known.keys, kid), time.monotonic() - known.keys_at
        return None if age > (_FRESH_SECONDS if found else _AGAIN_SECONDS) else found

    def endpoints(self, issuer: str) -> Endpoints:
        """A provider's endpoints. Raises ProviderError."""
        return self._provider(issuer, self._deadline()).endpoints

    def exchange(self, issuer: str, form: Mapping[str, str], client_secret: str = "") -> str | None:
        """The ID token for a code; None: the provider refuses the code. Raises ProviderError."""
        login = ""
        if client_secret:
            # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(form['client_id'])}:{quote_plus(client_secret)}"
            login = f"Basic {base64.b64encode(pair.encode()).decode()}"
        deadline = self._deadline()
        token = self._provider(issuer, deadline).endpoints.token
        status, body = _request(token, deadline, urlencode(form).encode(), login)
        if 400 <= status < 500:
            return None
        found = _document(status, body).get("id_token")
        return found if isinstance(found, str) else None

    def keys(self, issuer: str, kid: object) -> tuple[Key, ...]:
        """The provider's keys of one key id, or all where the token names none. Raises ProviderError."""
        fresh = self.known_keys(issuer, kid)
        if fresh is not None:
            return fresh
        deadline = self._deadline()
        known = self._provider(issuer, deadline)
        members = _document(*_request(known.endpoints.jwks, deadline)).get("keys")
        loaded = (
            (load_key(each) for each in members if isinstance(each, dict))
            if isinstance(members, list)
            else ()
        )
        known.keys = tuple(each for each in loaded if isinstance(each, Key))
        known.keys_at = time.monotonic()
        return _of(known.keys, kid)

    def _deadline(self) -> float:
        return time.monotonic() + self._deadline_seconds

    def _known_provider(self, issuer: str) -> _Known | None:
        with self._lock:
            known = self._known.get(issuer)
        is_fresh = known is not None and time.monotonic() - known.read_at < _FRESH_SECONDS
        return known if is_fresh else None

    def _provider(self, issuer: str, deadline: float) -> _Known:
        known = self._known_provider(issuer)
        if known is not None:
            return known
        said = _document(*_request(f"{issuer}/.well-known/openid-configuration", deadline))
        if said.get("issuer") != issuer:
            raise ProviderError("its discovery document names another issuer")
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        urls = [said.get(name) for name in names]
        for name, url in zip(names, urls, strict=True):
            if not isinstance(url, str) or not _may_be_asked(url, issuer):
                raise ProviderError(f"its {name} is no https URL")
        names_itself = said.get("authorization_response_iss_parameter_supported") is True
        fresh = _Known(Endpoints(str(urls[0]), str(urls[1]), str(urls[2]), names_itself), time.monotonic())
        with self._lock:
            before = self._known.get(issuer)
            if before is not None and before.endpoints.jwks == fresh.endpoints.jwks:
                # Keys have a time of their own: they are not asked for again because the document was.
                fresh.keys, fresh.keys_at = before.keys, before.keys_at
            self._known[issuer] = fresh
        return fresh


def _of(keys: tuple[Key, ...], kid: object) -> tuple[Key, ...]:
    return keys if kid is None else tuple(each for each in keys if each.kid == kid)


def _may_be_asked(url: str, issuer: str) -> bool:
    if not url.isascii() or not url.isprintable() or any(each in url for each in " \"'<>\\;,"):
        return False
    try:
        parts, of_issuer = urlsplit(url), urlsplit(issuer)
    except ValueError:
        return False
    if parts.username is not None or not parts.hostname or parts.fragment:
        return False
    is_here = of_issuer.scheme == "http" and of_issuer.hostname in _LOOPBACK
    return parts.scheme == "https" or (parts.scheme == "http" and is_here and parts.hostname in _LOOPBACK)


class _Timed(io.RawIOBase):
    """What a connection receives, until a deadline. `http.client` takes it for the socket that it reads."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        super().__init__()
        self._connection, self._deadline = connection, deadline

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        # Before each read: one that were given the whole time again would have no end.
        self._connection.settimeout(_left(self._deadline))
        return self._connection.recv_into(buffer)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _request(url: str, deadline: float, form: bytes | None = None, login: str = "") -> tuple[int, bytes]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    timeout = max(0.001, deadline - time.monotonic())
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=timeout, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=timeout)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Accept": "application/json"}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if login:
        headers["Authorization"] = login
    try:
        connection.request("GET" if form is None else "POST", target, form, headers)
        timed: Any = _Timed(connection.sock, deadline)
        answer = http.client.HTTPResponse(timed, method="GET" if form is None else "POST")
        answer.begin()
        body = answer.read(_MAX_BYTES + 1)
    except TimeoutError:
        raise ProviderError("it has not answered whole in time") from None
    except (OSError, UnicodeError, http.client.HTTPException) as error:
        raise ProviderError(f"it cannot be asked ({type(error).__name__})") from None
    finally:
        connection.close()
    if len(body) > _MAX_BYTES:
        raise ProviderError(f"its answer has more than {_MAX_BYTES} bytes")
    return answer.status, body


def _document(status: int, body: bytes) -> dict[str, Any]:
    if status != 200:
        raise ProviderError(f"it answers {status}")
    try:
        return parse_json_object(body)
    except EncodingError:
        raise ProviderError("its answer is no JSON object") from None
