# SPDX-License-Identifier: Apache-2.0
"""Every request that the operator makes to the API server for its own objects, statuses and Events.

One door, so that each write is counted, made by a leader, bounded in time and tried again in the same way.
Writes are server-side apply under one field manager: what others keep in an object stays theirs.
"""

import asyncio
import random
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, Protocol
from urllib.parse import quote, urlencode

import msgspec

from watchword.operator.election import Leadership
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.names import FIELD_MANAGER
from watchword.trust.specs import API_VERSION

Body = Mapping[str, Any]
_ATTEMPTS: Final = 4
_FIRST_WAIT_SECONDS: Final = 0.1
_MAX_WAIT_SECONDS: Final = 2.0
_MAX_MESSAGE: Final = 512
_PARTIAL: Final = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
_PLURALS: Final = {
    "ClusterTrustedIssuer": "clustertrustedissuers",
    "ProtectedService": "protectedservices",
    "TrustedWorkload": "trustedworkloads",
    "ConfigMap": "configmaps",
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "NetworkPolicy": "networkpolicies",
    "Event": "events",
    "Namespace": "namespaces",
}


class NotLeading(Exception):
    """This process does not lead: it must not write."""


class Conflict(Exception):
    """The object is not as it was read any more."""


class Refused(Exception):
    """The API server said no, and would again.

    Attributes:
        status: the HTTP status.
        message: what it said, as one bounded line.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Unavailable(Exception):
    """No answer, or one that says to come again; the write may have happened or not."""


class Answer(NamedTuple):
    """An HTTP status and body."""

    status: int
    body: bytes


class Transport(Protocol):
    """How a request is made; blocks, and is called from threads."""

    def __call__(self, method: str, path: str, headers: dict[str, str], body: bytes | None) -> Answer:
        """Make one request, within `WRITE_TIMEOUT_SECONDS`. Raises OSError when there is no answer."""


class Writer:
    """Makes requests, a few at a time.

    Attributes:
        requests: how many were made, by verb and resource; tests count with it.
    """

    def __init__(
        self, transport: Transport, leadership: Leadership, metrics: OperatorMetrics, concurrency: int = 16
    ) -> None:
        """Write through a transport while leading."""
        self._transport, self._leadership, self._metrics = transport, leadership, metrics
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="writer")
        self._free = asyncio.Semaphore(concurrency)
        self.requests: dict[tuple[str, str], int] = {}

    async def apply(self, body: Body, *, subresource: str = "") -> dict[str, Any]:
        """Apply an object with our field manager, taking over what others set of it.

        Returns:
            The metadata of the object as it is stored.

        Raises:
            NotLeading, Conflict, Refused, Unavailable.
        """
        query = urlencode({"fieldManager": FIELD_MANAGER, "force": "true"})
        path = _path(body) + (f"/{subresource}" if subresource else "") + f"?{query}"
        data = msgspec.json.encode(body)
        answer = await self._write("PATCH", path, body["kind"] + subresource, data)
        return _metadata(answer)

    async def delete(self, body: Body, uid: str) -> None:
        """Delete an object if it is still the one with this UID; one that is gone is fine.

        Raises:
            NotLeading, Conflict, Refused, Unavailable.
        """
        data = msgspec.json.encode({"preconditions": {"uid": uid}})
        try:
            await self._write("DELETE", _path(body), body["kind"], data)
        except Refused as refused:
            if refused.status != 404:
                raise

    async def read(self, body: Body) -> dict[str, Any] | None:
        """The whole object of this kind and name as it is stored; None: there is none.

        Raises:
            Refused, Unavailable.
        """
        try:
            answer = await self._attempted("GET", _path(body), body["kind"], None)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise
        found: dict[str, Any] = msgspec.json.decode(answer.body)
        return found

    async def find(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        """A resource of ours, or a Namespace, as it is stored; None: there is none. By a list of one, which
        needs no right that a watch does not need.

        Raises:
            Refused, Unavailable.
        """
        version = "v1" if kind == "Namespace" else API_VERSION
        query = urlencode({"fieldSelector": f"metadata.name={name}"})
        body = {"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace}}
        answer = await self._attempted("GET", f"{_collection(body)}?{query}", kind, None)
        items = msgspec.json.decode(answer.body)["items"]
        return {"apiVersion": version, "kind": kind, **items[0]} if items else None

    async def close(self) -> None:
        """Wait until no request is in flight any more."""
        await asyncio.to_thread(self._threads.shutdown)

    async def _write(self, verb: str, path: str, resource: str, data: bytes) -> Answer:
        return await self._attempted(verb, path, resource, data)

    async def _attempted(self, verb: str, path: str, resource: str, data: bytes | None) -> Answer:
        wait, problem = _FIRST_WAIT_SECONDS, "no answer"
        for attempt in range(_ATTEMPTS):
            if attempt:
                await asyncio.sleep(wait * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
                wait = min(wait * 3, _MAX_WAIT_SECONDS)
            async with self._free:
                # Asked at the last moment: what waited here may have outlived its leader.
                if verb != "GET" and not self._leadership.is_held():
                    raise NotLeading
                try:
                    answer = await self._once(verb, path, resource, data)
                except OSError as error:
                    problem = type(error).__name__
                    continue
            if answer.status < 300:
                return answer
            problem = _message(answer)
            if answer.status == 409:
                raise Conflict(problem)
            if answer.status != 429 and answer.status < 500:
                raise Refused(answer.status, problem)
        raise Unavailable(problem)

    async def _once(self, verb: str, path: str, resource: str, data: bytes | None) -> Answer:
        headers = {"Accept": "application/json" if verb == "GET" else _PARTIAL}
        if data is not None:
            headers["Content-Type"] = (
                "application/apply-patch+yaml" if verb == "PATCH" else "application/json"
            )
        kind, plural = resource, _PLURALS.get(resource.removesuffix("status"), resource)
        label = f"{plural}/status" if kind.endswith("status") else plural
        self.requests[verb, label] = self.requests.get((verb, label), 0) + 1
        code = "none"
        try:
            loop = asyncio.get_running_loop()
            # A caller that is cancelled leaves; the request goes on, and `close` waits for it.
            made = loop.run_in_executor(self._threads, self._transport, verb, path, headers, data)
            answer = await asyncio.shield(made)
            code = str(answer.status)
        finally:
            self._metrics.api_requests.labels(verb, label, code).inc()
        return answer


def _path(body: Body) -> str:
    return f"{_collection(body)}/{quote(body['metadata']['name'], safe='')}"


def _collection(body: Body) -> str:
    version, metadata = str(body["apiVersion"]), body["metadata"]
    group = f"/apis/{version}" if "/" in version else f"/api/{version}"
    place = f"/namespaces/{quote(metadata['namespace'], safe='')}" if metadata.get("namespace") else ""
    return f"{group}{place}/{_PLURALS[body['kind']]}"


def _metadata(answer: Answer) -> dict[str, Any]:
    metadata: dict[str, Any] = msgspec.json.decode(answer.body)["metadata"]
    return metadata


def _message(answer: Answer) -> str:
    try:
        said = msgspec.json.decode(answer.body).get("message")
    except (msgspec.MsgspecError, AttributeError):
        said = None
    text = said if isinstance(said, str) else f"HTTP status {answer.status}"
    line = "".join(character if character.isprintable() else " " for character in text[: _MAX_MESSAGE * 2])
    return line if len(line) <= _MAX_MESSAGE else line[: _MAX_MESSAGE - 1] + "…"
