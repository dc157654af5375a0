# SPDX-License-Identifier: Apache-2.0
"""The pod's token on every request of an httpx client, and the gate's refusals as exceptions.

One generator is the whole flow, for sync and async clients alike: send with the source's token; after a 401,
once more if the source has another one by then. Retrying anything else would repeat a question whose answer
is known, and could do a thing twice.
"""

import contextlib
import threading
from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
from typing import Any, Final

import httpx

from watchword.client.errors import ExchangeFailed, OriginNotAllowed, TokenUnavailable, WatchwordRefused
from watchword.client.origin import Origin
from watchword.client.refusals import body_may_refuse, read_refusal
from watchword.client.token_file import TokenFile, TokenSource
from watchword.client.trace_context import add_trace_context

_UNAUTHORIZED: Final = 401


class WatchwordAuth(httpx.Auth):
    """Authentication for httpx: `httpx.Client(auth=WatchwordAuth())`, or `AsyncClient`.

    Safe to share between clients, threads and tasks, as long as they call one service: a token has one
    audience. Another origin (scheme, host, port) than the first request's is an exception, never a leak;
    a service with several of them is named in `origins`.

    Plain http is allowed, as it is usual inside a cluster; who can read that network can use the token until
    it expires. The current span of OpenTelemetry, where the caller has one, goes along as `traceparent`.
    Streaming responses stay streams: only a body that can be a refusal is read here.

    Args:
        token: where the token comes from; by default `TokenFile.default()`.
        origins: where the token may go, e.g. "https://tuist-server.tuist.svc:8443"; by default, wherever the
            first request goes.
        raise_refusals: raise WatchwordRefused for a gate's refusal; else the response is returned as it came.

    Raises:
        TypeError: `token` is no token source (e.g. a path, or a token itself).
        ValueError: `origins` is empty or holds something that is no origin; WATCHWORD_TOKEN_FILE is no path.
    """

    # Not requires_response_body: httpx would read every answer to its end, downloads included. See below.

    def __init__(
        self,
        token: TokenSource | None = None,
        *,
        origins: str | Iterable[str] | None = None,
        raise_refusals: bool = True,
    ) -> None:
        self._source = TokenFile.default() if token is None else token
        if not callable(getattr(self._source, "token", None)):
            # Its type alone: it may be the token itself.
            raise TypeError(f"token is a source such as TokenFile(path), not {type(token).__name__}.")
        self._raise_refusals = raise_refusals
        self._lock = threading.Lock()
        self._origins: frozenset[Origin] | None = None
        if origins is not None:
            texts = [origins] if isinstance(origins, str) else list(origins)
            if not texts:
                raise ValueError("origins names at least one origin; leave it out to learn it from use.")
            self._origins = frozenset(Origin.parse(text) for text in texts)

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Send with the token; once more after a 401 if the source holds another one by then.

        Raises:
            TokenUnavailable: there is no token; nothing was sent.
            OriginNotAllowed: the token is not for this origin; nothing was sent.
            WatchwordRefused: the gate refused, unless `raise_refusals` is False.
        """
        flow = self._flow(request)
        step = next(flow)
        with contextlib.suppress(StopIteration):
            while True:
                if isinstance(step, httpx.Request):
                    response = yield step
                    step = flow.send(response)
                else:
                    with _refusal_goes_first(step):
                        step.token = self._source.token()
                    step = flow.send(step.token)

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Run `auth_flow` for httpx.Client, reading only those bodies that can be a refusal."""
        flow = self.auth_flow(request)
        with contextlib.suppress(StopIteration):
            request = next(flow)
            while True:
                response = yield request
                if body_may_refuse(response):
                    response.read()
                self._reject(response)
                request = flow.send(response)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """As `sync_auth_flow`, for httpx.AsyncClient: a token that takes an exchange is awaited."""
        # A projected file is in local memory: reading it takes microseconds, and needs no thread.
        ask = getattr(self._source, "token_async", None)
        flow = self._flow(request)
        step = next(flow)
        with contextlib.suppress(StopIteration):
            while True:
                if isinstance(step, httpx.Request):
                    response = yield step
                    if body_may_refuse(response):
                        await response.aread()
                    self._reject(response)
                    step = flow.send(response)
                else:
                    with _refusal_goes_first(step):
                        step.token = self._source.token() if ask is None else await ask()
                    step = flow.send(step.token)

    def _flow(self, request: httpx.Request) -> Generator["httpx.Request | _Wanted", Any, None]:
        """The requests to send, which are answered with a response, and the tokens that are wanted."""
        origin = Origin.of(request.url)
        self._permit(origin)
        sent: str = yield _Wanted("")
        used = [sent]
        request.headers["Authorization"] = _bearer(sent)
        add_trace_context(request.headers)
        response: httpx.Response = yield request

        hint: str | None = None
        # After a redirect, not `request`: starting again would repeat what led here.
        refused = response.request
        if response.status_code == _UNAUTHORIZED:
            # httpx drops the header on a redirect to another origin. A newer token does not fix what
            # was refused without one, and a detour through elsewhere must not choose where it goes.
            ours = Origin.of(refused.url) == origin and refused.headers.get("Authorization") == _bearer(sent)
            fresh: str = yield _Wanted(sent)
            if ours and fresh != sent:
                if isinstance(refused.stream, httpx.ByteStream):
                    used.append(fresh)
                    refused.headers["Authorization"] = _bearer(fresh)
                    response = yield refused
                else:
                    hint = (
                        "The token was renewed meanwhile, but a streamed body can be sent once only: "
                        "make the call again."
                    )
            elif "Authorization" not in refused.headers:
                hint = (
                    f"The request was redirected away from {origin}, and a token does not follow to another "
                    "origin: call the service itself."
                )
        if self._raise_refusals:
            _raise_if_refused(response, used, hint)

    def _reject(self, response: httpx.Response) -> None:
        """Let a source know that its token was refused, where it can get another one."""
        reject = getattr(self._source, "reject", None)
        sent = response.request.headers.get("Authorization", "")
        if reject is not None and response.status_code == _UNAUTHORIZED and sent.startswith("Bearer "):
            reject(sent.removeprefix("Bearer "))

    def _permit(self, origin: Origin) -> None:
        # Two threads with two first requests must not both be the first.
        with self._lock:
            if self._origins is None:
                self._origins = frozenset({origin})
            allowed = self._origins
        if origin not in allowed:
            raise OriginNotAllowed(str(origin), tuple(sorted(map(str, allowed))))


class _Wanted:
    """A token that the flow wants. Without a repr of its own, so that none shows it.

    Attributes:
        token: the one that was refused, and stays where there is no other; empty: none was sent yet.
    """

    def __init__(self, token: str) -> None:
        self.token = token


@contextlib.contextmanager
def _refusal_goes_first(wanted: _Wanted) -> Iterator[None]:
    """After a refusal, that is the news; a source that fails meanwhile is said by the next request."""
    try:
        yield
    except (TokenUnavailable, ExchangeFailed):
        if not wanted.token:
            raise


def _bearer(token: str) -> str:
    return f"Bearer {token}"


def _raise_if_refused(response: httpx.Response, used: list[str], hint: str | None) -> None:
    refusal = read_refusal(response, secrets=used)
    if refusal is None:
        return
    # The exception holds the response, that its requests, those the token; and exceptions travel.
    for answer in (*response.history, response):
        answer.request.headers.pop("Authorization", None)
    raise WatchwordRefused(
        refusal.reason,
        refusal.detail,
        response=response,
        remedy=" ".join(part for part in (hint, refusal.remedy) if part) or None,
        decision_id=refusal.decision_id,
    )
