# SPDX-License-Identifier: Apache-2.0
"""One Lease object (coordination.k8s.io/v1) as values: read, create, replace; every call bounded in time.

Each write carries the resourceVersion that it was made from, so that of two writers one is told so. A call
without an answer may have happened all the same: whoever calls must be right in both cases.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, Final, Protocol

import aiohttp
import msgspec

# Shorter than the span between two attempts to renew and their deadline: one call that hangs is not the end.
REQUEST_SECONDS: Final = 2.0
_MAX_BYTES: Final = 1 << 20


class Lease(msgspec.Struct, frozen=True):
    """A Lease as it was read.

    Attributes:
        holder: the identity that holds it; empty when nobody does.
        duration_seconds: how long its holder may be silent; 0 when it says nothing sensible.
        resource_version: changes with every write, whoever wrote.
        transitions: how often the holder changed.
        was_held: whether it was ever held; a new one without a holder was not, one that was given back was.
        document: the whole object; what others put there is kept when we write.
    """

    holder: str
    duration_seconds: float
    resource_version: str
    transitions: int
    was_held: bool
    document: Mapping[str, Any]


class LeaseConflict(Exception):
    """Somebody else wrote, created or deleted the Lease since it was read."""


class LeaseUnavailable(Exception):
    """No answer, or none that helps; the write that was asked for may have happened or not.

    Attributes:
        detail: what is wrong, in a sentence.
        remedy: what would be right.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail, self.remedy = detail, remedy


class LeaseStore(Protocol):
    """Where one named Lease is kept. Each method raises LeaseUnavailable."""

    async def read(self) -> Lease | None:
        """The Lease as it is now, never from a cache; None: there is none."""

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        """Create it; raises LeaseConflict when it exists."""

    async def replace(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        """Change fields of its spec; raises LeaseConflict when it is not as it was read any more."""


class ApiLeases:
    """A Lease in a Kubernetes API server."""

    def __init__(self, session: aiohttp.ClientSession, server: str, namespace: str, name: str) -> None:
        """Use a session that authorizes itself; `server` is the API server's URL."""
        self._session, self._name, self._namespace = session, name, namespace
        self._collection = f"{server.rstrip('/')}/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def read(self) -> Lease | None:
        """The Lease as it is now; None: there is none."""
        status, body = await self._call("GET", f"{self._collection}/{self._name}", None)
        return None if status == 404 else self._parsed(status, body)

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        """Create it; raises LeaseConflict when it exists."""
        document = {**_BLANK, "metadata": {"namespace": self._namespace, "name": self._name}, "spec": spec}
        status, body = await self._call("POST", self._collection, document)
        if status == 409:
            raise LeaseConflict("the Lease exists")
        if status == 404:
            raise LeaseUnavailable(
                f"namespace {self._namespace} does not exist",
                f"create it (`kubectl create namespace {self._namespace}`), or name another (--namespace)",
            )
        return self._parsed(status, body)

    async def replace(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        """Change fields of its spec; raises LeaseConflict when it is not as it was read any more."""
        document = {**lease.document, "spec": {**(lease.document.get("spec") or {}), **spec}}
        status, body = await self._call("PUT", f"{self._collection}/{self._name}", document)
        if status in {404, 409}:
            raise LeaseConflict("the Lease changed meanwhile")
        return self._parsed(status, body)

    async def _call(self, method: str, url: str, document: object | None) -> tuple[int, bytes]:
        payload = None if document is None else msgspec.json.encode(document)
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        try:
            # From the first byte of the connection to the last byte of the answer.
            async with (
                asyncio.timeout(REQUEST_SECONDS),
                self._session.request(
                    method, url, data=payload, headers=headers, allow_redirects=False
                ) as answer,
            ):
                return answer.status, await answer.content.read(_MAX_BYTES)
        except TimeoutError:
            raise LeaseUnavailable(
                f"the API server did not answer within {REQUEST_SECONDS:g} s", _REACH
            ) from None
        except (aiohttp.ClientError, OSError) as error:
            raise LeaseUnavailable(
                f"the API server cannot be reached ({type(error).__name__})", _REACH
            ) from None

    def _parsed(self, status: int, body: bytes) -> Lease:
        if status == 401:
            raise LeaseUnavailable(
                "the API server does not know this operator's credentials",
                "mount a ServiceAccount token, or mend the kubeconfig",
            )
        if status == 403:
            raise LeaseUnavailable(
                f"the API server does not let this operator use Lease {self._namespace}/{self._name}"
                f"{_words(body)}",
                "apply the operator's Role and RoleBinding (manifests/install/watchword.yaml)",
            )
        if status not in {200, 201}:
            raise LeaseUnavailable(f"the API server answered {status}{_words(body)}", _REACH)
        try:
            return parse_lease(body)
        except msgspec.MsgspecError as error:
            raise LeaseUnavailable(
                f"Lease {self._namespace}/{self._name} cannot be read: {error}", "delete it"
            ) from None


_BLANK: Final = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
_REACH: Final = "nothing, if it is restarting; else look at the API server, the network and its policies"


class _Spec(msgspec.Struct):
    holderIdentity: str | None = None  # noqa: N815 - the API's own name
    leaseDurationSeconds: int | None = None  # noqa: N815 - the API's own name
    leaseTransitions: int | None = None  # noqa: N815 - the API's own name
    renewTime: str | None = None  # noqa: N815 - the API's own name


class _Metadata(msgspec.Struct):
    resourceVersion: str  # noqa: N815 - the API's own name


class _Object(msgspec.Struct):
    metadata: _Metadata
    spec: _Spec | None = None


def parse_lease(body: bytes) -> Lease:
    """A Lease from the API's JSON; raises msgspec.MsgspecError."""
    parsed = msgspec.json.decode(body, type=_Object)
    spec = parsed.spec or _Spec()
    return Lease(
        holder=spec.holderIdentity or "",
        duration_seconds=float(max(spec.leaseDurationSeconds or 0, 0)),
        resource_version=parsed.metadata.resourceVersion,
        transitions=max(spec.leaseTransitions or 0, 0),
        was_held=bool(spec.renewTime),
        document=msgspec.json.decode(body),
    )


def _words(body: bytes) -> str:
    """The API server's own message, for a sentence to end with."""
    try:
        message = msgspec.json.decode(body)["message"]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return ""
    return f": {str(message)[:300]}"
