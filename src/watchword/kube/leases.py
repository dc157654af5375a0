# SPDX-License-Identifier: Apache-2.0
"""Reads, creates and replaces one Lease (coordination.k8s.io/v1), and says for how long it is surely held.

Each write carries the resourceVersion that it was made from, so that of two writers one is told so. A call
without an answer may have happened all the same: the caller must be right in both cases.
"""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from watchword.kube.proxies import with_proxy_remedy
from watchword.kube.requests import ApiClient, Response, UnavailableError

# Shorter than the span between two attempts to renew and their deadline: one call that hangs is not the end.
REQUEST_SECONDS: Final = 2.0
_MAX_BYTES: Final = 1 << 20
_NEVER: Final = float("-inf")


def suspend_proof_clock() -> float:
    """Seconds that never go back and, unlike `time.monotonic`, also pass while the machine is suspended."""
    boottime: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if boottime is None else time.clock_gettime(boottime)


class LeaseHold:
    """For how long a Lease is surely held, by this process's own clock: what is asked before each write.

    Attributes:
        held_until: when the last renewal stops counting, in seconds of the clock.
        leads_from: before this, another process may still hold a Lease that was deleted.
    """

    def __init__(self, clock: Callable[[], float] = suspend_proof_clock) -> None:
        """Hold nothing yet; `clock` gives seconds since anything."""
        self.held_until = self.leads_from = _NEVER
        self._clock, self._is_ended = clock, False

    def is_held(self) -> bool:
        """Whether the Lease is held now; from any thread, without waiting."""
        return not self._is_ended and self.leads_from <= self._clock() < self.held_until

    def begin(self) -> None:
        """Count renewals again after `end`."""
        self._is_ended = False

    def end(self) -> None:
        """Hold nothing from now on, whatever was renewed."""
        self._is_ended = True

    def lose(self) -> None:
        """Count no renewal that was made before now."""
        self.held_until = _NEVER


class Lease(msgspec.Struct, frozen=True):
    """A Lease as it was read.

    Attributes:
        holder: the identity that holds it; empty when no one does.
        duration_seconds: how long its holder may be silent; 0 when it says nothing sensible.
        resource_version: changes with every write, by any client.
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


class LeaseConflictError(Exception):
    """Another client wrote, created or deleted the Lease since it was read."""


class LeaseUnavailableError(Exception):
    """No answer, or none that helps; the write that was asked for may have happened or not.

    Attributes:
        detail: what is wrong, in a sentence.
        remedy: what would be right.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(detail)
        self.detail, self.remedy = detail, remedy


class LeaseStore(Protocol):
    """Where one named Lease is kept. Each method raises LeaseUnavailableError."""

    async def read(self) -> Lease | None:
        """The Lease as it is now, never from a cache; None: there is none."""

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        """Create it; raises LeaseConflictError when it exists."""

    async def replace(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        """Change fields of its spec; raises LeaseConflictError when it is not as it was read any more."""


class ApiLeases:
    """A Lease in a Kubernetes API server."""

    def __init__(self, client: ApiClient, namespace: str, name: str) -> None:
        """Keep the Lease of this name by a client."""
        self._client, self._name, self._namespace = client, name, namespace
        self._collection = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"

    async def read(self) -> Lease | None:
        """Return the Lease as it is now; None: there is none."""
        answer = await self._call("GET", f"{self._collection}/{self._name}", None)
        return None if answer.status == 404 else self._parsed(answer)

    async def create(self, spec: Mapping[str, Any]) -> Lease:
        """Create it; raises LeaseConflictError when it exists."""
        document = {**_BLANK, "metadata": {"namespace": self._namespace, "name": self._name}, "spec": spec}
        answer = await self._call("POST", self._collection, document)
        if answer.status == 409:
            raise LeaseConflictError("the Lease exists")
        if answer.status == 404:
            raise LeaseUnavailableError(
                f"namespace {self._namespace} does not exist",
                f"create it (`kubectl create namespace {self._namespace}`), or name another (--namespace)",
            )
        return self._parsed(answer)

    async def replace(self, lease: Lease, spec: Mapping[str, Any]) -> Lease:
        """Change fields of its spec; raises LeaseConflictError when it is not as it was read any more."""
        document = {**lease.document, "spec": {**(lease.document.get("spec") or {}), **spec}}
        answer = await self._call("PUT", f"{self._collection}/{self._name}", document)
        if answer.status in {404, 409}:
            raise LeaseConflictError("the Lease changed meanwhile")
        return self._parsed(answer)

    async def _call(self, method: str, path: str, document: object | None) -> Response:
        payload = None if document is None else msgspec.json.encode(document)
        try:
            return await self._client.request(
                method, path, payload, timeout_seconds=REQUEST_SECONDS, max_bytes=_MAX_BYTES
            )
        except UnavailableError as away:
            remedy = with_proxy_remedy(_REACH, "the API server")
            raise LeaseUnavailableError(f"the API server cannot be reached ({away})", remedy) from None

    def _parsed(self, answer: Response) -> Lease:
        if answer.status == 401:
            raise LeaseUnavailableError(
                "the API server does not know this operator's credentials",
                "mount a ServiceAccount token, or fix the kubeconfig",
            )
        if answer.status == 403:
            raise LeaseUnavailableError(
                f"the API server does not let this operator use Lease {self._namespace}/{self._name}: "
                f"{answer.message}",
                "apply the operator's Role and RoleBinding (manifests/install/watchword.yaml)",
            )
        if answer.status not in {200, 201}:
            raise LeaseUnavailableError(f"the API server answered {answer.status}: {answer.message}", _REACH)
        try:
            return parse_lease(answer.body)
        except msgspec.MsgspecError as error:
            raise LeaseUnavailableError(
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
