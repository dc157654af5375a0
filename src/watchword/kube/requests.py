# SPDX-License-Identifier: Apache-2.0
"""Makes single requests to the Kubernetes API: each bounded in time and size, and counted.

`ApiClient` makes one request. `ObjectClient` applies, deletes and reads objects with it: each write is made
while a guard permits it, and tried again in the same way. Writes are server-side apply under one field
manager: what others keep in an object stays theirs.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, Protocol, Self
from urllib.parse import quote, urlencode

import aiohttp
import msgspec
from prometheus_client import Counter

from watchword.kube.connection import Connection, close_session
from watchword.kube.watch.problems import WatchError
from watchword.process.listening import CannotStartError

Body = Mapping[str, Any]
# Seconds that a write may take in all. Shorter than what lies between the end of one leader's belief and
# another's earliest start (watchword.operator.leader_election), so that none is in flight then.
WRITE_TIMEOUT_SECONDS: Final = 2.0
READ_TIMEOUT_SECONDS: Final = 5.0
MAX_BYTES: Final = 16 * 1024 * 1024
_ATTEMPTS: Final = 4
_FIRST_WAIT_SECONDS: Final = 0.1
_MAX_WAIT_SECONDS: Final = 2.0
_MAX_MESSAGE: Final = 512
_PARTIAL: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"


class NotLeadingError(Exception):
    """This process does not lead: it must not write."""


class ConflictError(Exception):
    """The object is not as it was read any more."""


class RefusedError(Exception):
    """The API server said no, and would again.

    Attributes:
        status: the HTTP status.
        message: what it said, as one bounded line.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class UnavailableError(Exception):
    """No answer, or one that says to come again; a write may have happened or not."""


def verified_client(connection: Connection) -> "ApiClient":
    """A client of a connection whose authority and credential can be read.

    Raises:
        CannotStartError: they cannot; that is said at the start, and not at the first request.
    """
    try:
        connection.ssl_context()
    except WatchError as failed:
        raise CannotStartError(f"{failed.problem.detail}. Remedy: {failed.problem.remedy}") from None
    return ApiClient(connection)


class WriteGuard(Protocol):
    """What is asked before each write (`watchword.kube.leases.LeaseHold`)."""

    def is_held(self) -> bool:
        """Whether this process may write; from any thread, without waiting."""


class Response(NamedTuple):
    """An HTTP status and body."""

    status: int
    body: bytes

    @property
    def message(self) -> str:
        """What the API server says, as one bounded line."""
        try:
            said = msgspec.json.decode(self.body).get("message")
        except (msgspec.MsgspecError, AttributeError, UnicodeDecodeError):
            said = None
        text = said if isinstance(said, str) else f"HTTP status {self.status}"
        line = "".join(each if each.isprintable() else " " for each in text[: _MAX_MESSAGE * 2])
        return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…"


class ApiClient:
    """Makes requests over pooled connections. Belongs to one event loop; use it in `async with`."""

    def __init__(self, connection: Connection) -> None:
        """Reach an API server by a connection."""
        self._connection = connection
        self._session: aiohttp.ClientSession | None = None
        self._in_flight: set[asyncio.Task[Response]] = set()

    async def __aenter__(self) -> Self:
        self._session = self._connection.session()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def connection(self) -> Connection:
        """How the API server is reached."""
        return self._connection

    async def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        accept: str = "application/json",
        content_type: str = "application/json",
        timeout_seconds: float = READ_TIMEOUT_SECONDS,
        max_bytes: int = MAX_BYTES,
    ) -> Response:
        """Make one request and return whatever the API server answers; redirects are not followed.

        The caller of a write that is cancelled leaves, and the request goes on: `close` waits for it.

        Args:
            method: GET, POST, PUT, PATCH or DELETE.
            path: path and query, quoted.
            body: what to send; None: nothing.
            accept: the Accept header.
            content_type: of the body.
            timeout_seconds: from before the connection to the last byte of the answer.
            max_bytes: a longer answer counts as none.

        Raises:
            UnavailableError: no answer in time, none at all, or one that is too long.
        """
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        if body is not None:
            headers["Content-Type"] = content_type
        sent = self._send(method, path, body, headers, timeout_seconds=timeout_seconds, max_bytes=max_bytes)
        if method == "GET":
            return await sent
        task = asyncio.get_running_loop().create_task(sent)
        self._in_flight.add(task)
        task.add_done_callback(self._done)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait until no write is in flight any more, and close the connections."""
        while self._in_flight:
            await asyncio.wait(self._in_flight)
        session, self._session = self._session, None
        if session is not None:
            await close_session(session)

    async def _send(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: dict[str, str],
        *,
        timeout_seconds: float,
        max_bytes: int,
    ) -> Response:
        if self._session is None:
            raise UnavailableError("the client is closed")
        url = f"{self._connection.server}{path}"
        try:
            async with (
                asyncio.timeout(timeout_seconds),
                self._session.request(
                    method, url, data=body, headers=headers, allow_redirects=False
                ) as answer,
            ):
                found = await _bounded(answer.content, max_bytes)
        except TimeoutError:
            raise UnavailableError(f"no answer within {timeout_seconds:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise UnavailableError(type(error).__name__) from None
        except WatchError as error:
            raise UnavailableError(str(error)) from None
        if len(found) > max_bytes:
            raise UnavailableError(f"an answer of more than {max_bytes} bytes")
        return Response(answer.status, found)

    def _done(self, task: "asyncio.Task[Response]") -> None:
        self._in_flight.discard(task)
        if not task.cancelled():
            # Its caller may have left: asyncio would then log what it failed with.
            task.exception()


async def _bounded(content: aiohttp.StreamReader, max_bytes: int) -> bytes:
    found = bytearray()
    async for piece in content.iter_any():
        found += piece
        if len(found) > max_bytes:
            break
    return bytes(found)


class ObjectClient:
    """Applies, deletes and reads objects, a few at a time, and tries again where that can help."""

    def __init__(
        self,
        client: ApiClient,
        guard: WriteGuard,
        counter: Counter,
        *,
        field_manager: str,
        plurals: Mapping[str, str],
        concurrency: int = 16,
    ) -> None:
        """Write through a client while a guard permits it.

        Args:
            client: makes the requests.
            guard: is asked before each write.
            counter: counts requests by verb, resource and code.
            field_manager: under which everything is applied.
            plurals: the plural name of each kind.
            concurrency: how many requests are made at once.
        """
        self._client, self._guard, self._counter = client, guard, counter
        self._field_manager, self._plurals = field_manager, plurals
        self._free = asyncio.Semaphore(concurrency)

    async def apply(self, body: Body, *, subresource: str = "") -> dict[str, Any]:
        """Apply an object with our field manager, taking over what others set of it.

        Returns:
            The metadata of the object as it is stored.

        Raises:
            NotLeadingError, ConflictError, RefusedError, UnavailableError.
        """
        query = urlencode({"fieldManager": self._field_manager, "force": "true"})
        path = self._path(body) + (f"/{subresource}" if subresource else "") + f"?{query}"
        label = self._plurals[body["kind"]] + (f"/{subresource}" if subresource else "")
        answer = await self._attempted("PATCH", path, label, msgspec.json.encode(body))
        metadata: dict[str, Any] = msgspec.json.decode(answer.body)["metadata"]
        return metadata

    async def delete(self, body: Body, uid: str, version: int) -> None:
        """Delete an object if it is still the one with this UID; one that is gone is fine.

        Args:
            body: names the object.
            uid: as it was seen.
            version: its resourceVersion as it was seen: what was changed since is not deleted.
                0: whichever it has.

        Raises:
            NotLeadingError, ConflictError, RefusedError, UnavailableError.
        """
        seen = {"uid": uid} | ({"resourceVersion": str(version)} if version else {})
        data = msgspec.json.encode({"preconditions": seen})
        try:
            await self._attempted("DELETE", self._path(body), self._plurals[body["kind"]], data)
        except RefusedError as refused:
            if refused.status != 404:
                raise

    async def read(self, body: Body) -> dict[str, Any] | None:
        """Return the whole object of this kind and name as it is stored; None: there is none.

        Raises:
            RefusedError, UnavailableError.
        """
        try:
            answer = await self._attempted("GET", self._path(body), self._plurals[body["kind"]], None)
        except RefusedError as refused:
            if refused.status == 404:
                return None
            raise
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

    async def find(self, version: str, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """Return an object as it is stored; None: there is none.

        It is read by a list of one, which needs no right that a watch does not need.

        Raises:
            RefusedError, UnavailableError.
        """
        items = await self.list(version, kind, namespace, f"metadata.name={name}")
        return items[0] if items else None

    async def list(
        self, version: str, kind: str, namespace: str, field_selector: str = ""
    ) -> list[dict[str, Any]]:
        """Return all objects of a kind in a namespace as they are stored, read from the store itself.

        Raises:
            RefusedError, UnavailableError.
        """
        body = {"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace}}
        query = f"?{urlencode({'fieldSelector': field_selector})}" if field_selector else ""
        answer = await self._attempted("GET", f"{self._collection(body)}{query}", self._plurals[kind], None)
        items = msgspec.json.decode(answer.body)["items"]
        return [{"apiVersion": version, "kind": kind, **each} for each in items]

    async def _attempted(self, verb: str, path: str, label: str, data: bytes | None) -> Response:
        wait, problem = _FIRST_WAIT_SECONDS, "no answer"
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                wait = min(wait * 3, _MAX_WAIT_SECONDS)
            async with self._free:
                # Asked at the last moment: what waited here may have outlived its leader.
                if verb != "GET" and not self._guard.is_held():
                    raise NotLeadingError
                try:
                    answer = await self._once(verb, path, label, data)
                except UnavailableError as error:
                    problem = str(error)
                    continue
            if answer.status < 300:
                return answer
            problem = answer.message
            if answer.status == 409:
                raise ConflictError(problem)
            if answer.status != 429 and answer.status < 500:
                raise RefusedError(answer.status, problem)
        raise UnavailableError(problem)

    async def _once(self, verb: str, path: str, label: str, data: bytes | None) -> Response:
        code = "none"
        try:
            answer = await self._client.request(
                verb,
                path,
                data,
                accept="application/json" if verb == "GET" else _PARTIAL,
                content_type="application/apply-patch+yaml" if verb == "PATCH" else "application/json",
                timeout_seconds=READ_TIMEOUT_SECONDS if verb == "GET" else WRITE_TIMEOUT_SECONDS,
            )
            code = str(answer.status)
        finally:
            self._counter.labels(verb, label, code).inc()
        return answer

    def _path(self, body: Body) -> str:
        return f"{self._collection(body)}/{quote(body['metadata']['name'], safe='')}"

    def _collection(self, body: Body) -> str:
        version, metadata = str(body["apiVersion"]), body["metadata"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        namespace = metadata.get("namespace")
        place = f"/namespaces/{quote(namespace, safe='')}" if namespace else ""
        return f"{group}{place}/{self._plurals[body['kind']]}"
