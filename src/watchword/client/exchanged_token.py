# SPDX-License-Identifier: Apache-2.0
"""A narrower token of a desk in place of the pod's own, exchanged when needed and kept while it lives.

`httpx.Client(auth=WatchwordAuth(ExchangedToken("https://desk.example.com", "tuist/tuist-server", ...)))` is
the whole of it. A desk token lives for minutes, so it is minted again before it ends, and once more after a
401; what is kept is compared with what is asked for before it is used.
"""

import asyncio
import base64
import binascii
import contextlib
import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final, Protocol, TypeVar

import httpx

from watchword.client.deadline import DeadlineError, within
from watchword.client.errors import DeskRefused, DeskUnreachable
from watchword.client.origin import Origin
from watchword.client.refusals import presentable
from watchword.client.token_file import DESK_VARIABLE, TokenFile, TokenSource

GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT_TYPE: Final = "urn:ietf:params:oauth:token-type:jwt"
# Under so many seconds of life left, a token is minted again: a request takes a while, and clocks differ.
MIN_LIFE_SECONDS: Final = 30.0
# Of an answer whole: who sends a byte a second is no desk.
TIMEOUT_SECONDS: Final = 10.0
# An answer of a desk has a few KiB; whatever else answers there may send more.
_MAX_ANSWER_BYTES: Final = 64 * 1024
# What is read is bounded as it comes, not as it would be unpacked.
_PLAIN: Final = {"Accept-Encoding": "identity"}
_T = TypeVar("_T")
_SERVICES: Final = ("watchword.dev", "services")


class TokenCache(Protocol):
    """Where desk tokens are kept beyond this process. Both may fail: what fails is done without."""

    def load(self, key: str) -> str | None:
        """The token kept for a target; None: none is."""
        ...

    def store(self, key: str, token: str | None) -> None:
        """Keep a token for a target; None: forget it."""
        ...


class ExchangedToken:
    """A token source that exchanges the pod's own token at a desk (RFC 8693).

    Safe to share between threads and tasks, and between clients that call the same service. Its repr shows
    the target and never a token.

    Args:
        desk: the desk's URL, such as `https://desk.example.com`; None: the one of the label
            `watchword.dev/exchange`, which WATCHWORD_DESK names.
        audience: the service: `namespace/name`, or its derived audience.
        purpose: what the token is for; only routes of that purpose take it. None: no purpose.
        project: the project that it is for; None: none. A project is one of an account.
        account: the account that it is for; None: none.
        scope: what it may do: scopes, or one text with a space between two.
        subject: where the pod's own token comes from, whose audience is the desk; by default
            `TokenFile.of_desk()` for the desk that WATCHWORD_DESK names, else `TokenFile.default()`.
        cache: where tokens are kept beyond this process; by default nowhere.
        verify: as httpx takes it: True, or an `ssl.SSLContext` for a CA of one's own.
        clock: seconds since the epoch.

    Raises:
        ValueError: the desk is no URL, or none is named; or no scope is.
        TypeError: `subject` is no token source.
    """

    def __init__(
        self,
        desk: str | None,
        audience: str,
        purpose: str | None = None,
        project: str | None = None,
        *,
        account: str | None = None,
        scope: str | Iterable[str],
        subject: TokenSource | None = None,
        cache: TokenCache | None = None,
        verify: Any = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._desk, injected = _desk_of(desk)
        self._audience = audience
        scopes = scope.split() if isinstance(scope, str) else list(scope)
        if not scopes:
            raise ValueError("scope names at least one scope, such as cache:read.")
        self._scope = " ".join(sorted(scopes))
        self._account, self._project, self._purpose = account, project, purpose
        self._subject = injected if subject is None else subject
        if not callable(getattr(self._subject, "token", None)):
            raise TypeError(f"subject is a source such as TokenFile(path), not {type(subject).__name__}.")
        self._cache, self._verify, self._clock = cache, verify, clock
        self._token: str | None = None
        self._has_looked = False
        # What the token that is kept is kept under beyond this process; None: it is not.
        self._kept_under: str | None = None
        # Of what is kept, for moments; and of the one exchange that threads share, for as long as it takes.
        self._lock, self._exchanging = threading.RLock(), threading.Lock()
        self._minting: tuple[asyncio.AbstractEventLoop, asyncio.Task[str]] | None = None

    def __repr__(self) -> str:
        parts = (self._desk, self._audience, self._scope, self._account, self._project, self._purpose)
        return f"ExchangedToken({', '.join(repr(each) for each in parts if each is not None)})"

    @property
    def key(self) -> str:
        """What tells this target from others in a cache: all that the token is to allow, and whose it is.

        Raises:
            TokenUnavailable: there is no subject token, so that no one knows whose it would be.
        """
        return self._key_of(self._subject.token())

    def _key_of(self, subject: str) -> str:
        parts = (self._desk, self._audience, self._scope, self._account, self._project, self._purpose)
        return json.dumps([*parts, _owner_of(subject)])

    def token(self) -> str:
        """A token with at least 30 seconds of life left: the one that is kept, or a new one.

        Raises:
            TokenUnavailable: there is no subject token.
            DeskRefused: the desk says no, with its reason and remedy.
            DeskUnreachable: the desk does not answer, or not as a desk.
        """
        with self._exchanging:
            kept = self._kept()
            if kept is not None:
                return kept
            subject = self._subject.token()
            response, content = _post(self._desk, self._endpoint, self._form(subject), self._verify)
            return self._take(response, content, subject)

    async def token_async(self) -> str:
        """As `token`, without blocking the event loop; tasks that ask at once share one exchange."""
        kept = await self._off_the_loop(self._kept)
        if kept is not None:
            return kept
        loop = asyncio.get_running_loop()
        if self._minting is None or self._minting[0] is not loop or self._minting[1].done():
            self._minting = loop, loop.create_task(self._mint_async())
        # One task that is cancelled takes the exchange from no other one.
        return await asyncio.shield(self._minting[1])

    def reject(self, token: str) -> None:
        """Forget a token that a gate refused, so that the next one is another one."""
        with self._lock:
            if self._token == token:
                self._token = None
                self._forget()

    def revoke(self) -> bool:
        """Take back the token that is kept (RFC 7009) and forget it; whether there was one.

        Raises:
            DeskRefused: the desk says no.
            DeskUnreachable: the desk does not answer; the token is forgotten here all the same.
        """
        with self._lock:
            token, self._token = self._kept(), None
            self._forget()
        if token is None:
            return False
        revoke_token(self._desk, token, verify=self._verify)
        return True

    @property
    def _endpoint(self) -> str:
        return f"{self._desk}/oauth2/token"

    def _form(self, subject: str) -> dict[str, str]:
        form = {
            "grant_type": GRANT_TYPE,
            "subject_token": subject,
            "subject_token_type": JWT_TYPE,
            "audience": self._audience,
            "scope": self._scope,
        }
        given = {"account": self._account, "project": self._project, "purpose": self._purpose}
        return form | {name: value for name, value in given.items() if value is not None}

    async def _mint_async(self) -> str:
        subject = self._subject.token()
        async with httpx.AsyncClient(verify=self._verify, timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            try:
                async with (
                    asyncio.timeout(TIMEOUT_SECONDS),
                    client.stream(
                        "POST", self._endpoint, data=self._form(subject), headers=_PLAIN
                    ) as response,
                ):
                    content = b""
                    async for part in response.aiter_raw():
                        content = _bounded((content, part))
                        if len(content) > _MAX_ANSWER_BYTES:
                            break
            except (httpx.HTTPError, TimeoutError) as error:
                raise _unreachable(self._desk, error) from None
        return await self._off_the_loop(lambda: self._take(response, content, subject))

    async def _off_the_loop(self, work: Callable[[], _T]) -> _T:
        """Do what may ask a cache, which may be a keyring that waits for a person."""
        return work() if self._cache is None else await asyncio.to_thread(work)

    def _kept(self) -> str | None:
        """The token that is kept, if it is for this very target and lives long enough."""
        with self._lock:
            if self._token is None and not self._has_looked and self._cache is not None:
                self._has_looked = True
                # A keyring has its own ways to fail, and none is the caller's; nor is a subject that is away.
                with contextlib.suppress(Exception):
                    key = self.key
                    self._token, self._kept_under = self._cache.load(key), key
            token = self._token
        return token if token is not None and self._is_for_target(token) else None

    def _take(self, response: httpx.Response, content: bytes, subject: str) -> str:
        if response.status_code != 200:
            raise _refused(self._desk, response, content, subject)
        said = _document(content)
        token = said.get("access_token")
        if not isinstance(token, str) or str(said.get("token_type", "")).lower() != "bearer":
            raise DeskUnreachable(self._desk, "It answered 200 with something other than a Bearer token.")
        if not self._is_for_target(token, min_life=0):
            raise DeskUnreachable(
                self._desk, "It answered with a token for something else than was asked for."
            )
        with self._lock:
            self._token = token
            if self._cache is not None:
                # For convenience only: without it, the next process exchanges again.
                with contextlib.suppress(Exception):
                    self._kept_under = self._key_of(subject)
                    self._cache.store(self._kept_under, token)
        return token

    def _forget(self) -> None:
        if self._cache is not None and self._kept_under is not None:
            with contextlib.suppress(Exception):
                self._cache.store(self._kept_under, None)

    def _is_for_target(self, token: str, min_life: float = MIN_LIFE_SECONDS) -> bool:
        """Whether a token says that it is for this target. Not verified: the gate does that."""
        claims = claims_of(token)
        end, details = claims.get("exp"), claims.get("authorization_details")
        if not isinstance(end, int | float) or end - self._clock() <= min_life:
            return False
        wanted: dict[str, Any] = {"type": "watchword_grant", "actions": self._scope.split()}
        wanted |= {"accounts": [self._account]} if self._account is not None else {}
        wanted |= {"projects": [self._project]} if self._project is not None else {}
        is_right = details == [wanted] and claims.get("purpose") == self._purpose
        return is_right and _is_audience(claims.get("aud"), self._audience)


def revoke_token(desk: str, token: str, *, verify: Any = True) -> None:
    """Take a desk token back at its desk (RFC 7009): anyone who holds it may.

    Args:
        desk: the desk's URL.
        token: the token.
        verify: as httpx takes it.

    Raises:
        DeskRefused: the desk says no.
        DeskUnreachable: the desk does not answer.
    """
    url = f"{desk.rstrip('/')}/oauth2/revoke"
    response, content = _post(desk, url, {"token": token}, verify)
    if response.status_code != 200:
        raise _refused(desk, response, content, token)


def _desk_of(given: str | None) -> tuple[str, TokenFile]:
    """A desk's URL, and the file of the token that this pod has for it.

    A token that was injected for one desk is sent to no other one.
    """
    named = os.environ.get(DESK_VARIABLE, "").rstrip("/")
    desk = named if given is None else given.rstrip("/")
    if not desk:
        raise ValueError(
            f"No desk is named: {DESK_VARIABLE} is not set. Give the desk's URL, or label the pod "
            "watchword.dev/exchange: NAMESPACE.DESK."
        )
    origin = Origin.parse(desk)
    is_injected = bool(named) and (given is None or _is_origin(named, origin))
    return desk, TokenFile.of_desk() if is_injected else TokenFile.default()


def _is_origin(text: str, origin: Origin) -> bool:
    try:
        return Origin.parse(text) == origin
    except ValueError:
        return False


def _owner_of(subject: str) -> list[str]:
    """Whose a subject token is: its issuer and subject; for one that says neither, its SHA-256."""
    claims = claims_of(subject)
    issuer, account = claims.get("iss"), claims.get("sub")
    if isinstance(issuer, str) and isinstance(account, str):
        return [issuer, account]
    return [hashlib.sha256(subject.encode()).hexdigest()]


def claims_of(token: str) -> dict[str, Any]:
    """What a token says, not verified: for showing, and never for deciding. Empty for what is no JWT."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        return _document(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError):
        return {}


def _refused(
    desk: str, response: httpx.Response, content: bytes, secret: str
) -> DeskRefused | DeskUnreachable:
    """What an answer other than 200 means; a token that it echoes is blacked out."""
    said = _document(content)
    if not isinstance(said.get("error"), str):
        return DeskUnreachable(desk, f"It answered {response.status_code}, and not as a desk does.")

    def text(name: str) -> str:
        value = said.get(name)
        return presentable(value, (secret,)) if isinstance(value, str) else ""

    after = response.headers.get("Retry-After", "")
    is_number = after.isascii() and after.isdigit() and len(after) < 10
    return DeskRefused(
        text("error"),
        reason=text("reason"),
        detail=text("error_description"),
        remedy=text("remedy"),
        request_id=text("request_id"),
        status=response.status_code,
        retry_after_seconds=int(after) if is_number else None,
    )


def _post(desk: str, url: str, form: dict[str, str], verify: Any) -> tuple[httpx.Response, bytes]:
    """What a desk answers to a form, within a time for all of it. Raises DeskUnreachable."""

    def ask() -> tuple[httpx.Response, bytes]:
        with (
            httpx.Client(verify=verify, timeout=TIMEOUT_SECONDS, trust_env=False) as client,
            client.stream("POST", url, data=form, headers=_PLAIN) as response,
        ):
            return response, _bounded(response.iter_raw())

    try:
        return within(TIMEOUT_SECONDS, ask)
    except (httpx.HTTPError, DeadlineError) as error:
        raise _unreachable(desk, error) from None


def _unreachable(desk: str, error: Exception) -> DeskUnreachable:
    # Without its cause: the error holds the request, and that the token.
    return DeskUnreachable(desk, f"It does not answer ({type(error).__name__}).")


def _bounded(parts: Iterable[bytes]) -> bytes:
    content = b""
    for part in parts:
        content += part
        if len(content) > _MAX_ANSWER_BYTES:
            return content[: _MAX_ANSWER_BYTES + 1]
    return content


def _document(content: bytes) -> dict[str, Any]:
    if len(content) > _MAX_ANSWER_BYTES:
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_audience(said: object, wanted: str) -> bool:
    """Whether the audience of a token is the service that was asked for, by either of its names."""
    if not isinstance(said, str):
        return False
    parts = said.split("/")
    is_service = len(parts) == 5 and tuple(parts[:2]) == _SERVICES
    return said == wanted or (is_service and "/".join(parts[3:]) == wanted)
