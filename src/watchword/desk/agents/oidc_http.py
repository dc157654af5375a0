# SPDX-License-Identifier: Apache-2.0
"""What the desk asks of OpenID providers: discovery, tokens, keys. Bounded, and at no address but theirs.

The providers are those that the TokenDesk names. Redirects are not followed, answers are bounded, and what a
discovery document names must be HTTPS, or on this machine where the issuer itself is.
"""

import base64
import http.client
import ssl
import threading
import time
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from watchword.identity import EncodingError, Key, load_key, parse_json_object

_MAX_BYTES: Final = 256 * 1024
_TIMEOUT_SECONDS: Final = 10.0
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
    keys_at: float = 0.0


class Providers:
    """Asks providers, and remembers for ten minutes what they said. Methods block."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._lock = threading.Lock()

    def endpoints(self, issuer: str) -> Endpoints:
        """A provider's endpoints. Raises ProviderError."""
        return self._provider(issuer).endpoints

    def exchange(self, issuer: str, form: Mapping[str, str], client_secret: str = "") -> str | None:
        """The ID token for a code; None: the provider refuses the code. Raises ProviderError."""
        login = ""
        if client_secret:
            # RFC 6749, section 2.3.1: both are form-encoded before they are joined.
            pair = f"{quote_plus(form['client_id'])}:{quote_plus(client_secret)}"
            login = f"Basic {base64.b64encode(pair.encode()).decode()}"
        status, body = _request(self.endpoints(issuer).token, urlencode(form).encode(), login)
        if 400 <= status < 500:
            return None
        found = _document(status, body).get("id_token")
        return found if isinstance(found, str) else None

    def keys(self, issuer: str, kid: object) -> tuple[Key, ...]:
        """The provider's keys of one key id, or all where the token names none. Raises ProviderError."""
        known, now = self._provider(issuer), time.monotonic()
        found = _of(known.keys, kid)
        age = now - known.keys_at
        if not known.keys or age > _FRESH_SECONDS or (not found and age > _AGAIN_SECONDS):
            members = _document(*_request(known.endpoints.jwks)).get("keys")
            loaded = (
                (load_key(each) for each in members if isinstance(each, dict))
                if isinstance(members, list)
                else ()
            )
            known.keys, known.keys_at = tuple(each for each in loaded if isinstance(each, Key)), now
            found = _of(known.keys, kid)
        return found

    def _provider(self, issuer: str) -> _Known:
        with self._lock:
            known = self._known.get(issuer)
        if known is not None and time.monotonic() - known.read_at < _FRESH_SECONDS:
            return known
        said = _document(*_request(f"{issuer}/.well-known/openid-configuration"))
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


def _request(url: str, form: bytes | None = None, login: str = "") -> tuple[int, bytes]:
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        context = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, port, timeout=_TIMEOUT_SECONDS, context=context)
    else:
        connection = http.client.HTTPConnection(host, port, timeout=_TIMEOUT_SECONDS)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    headers = {"Accept": "application/json"}
    if form is not None:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    if login:
        headers["Authorization"] = login
    try:
        connection.request("GET" if form is None else "POST", target, form, headers)
        answer = connection.getresponse()
        body = answer.read(_MAX_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
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
