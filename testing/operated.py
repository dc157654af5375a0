# SPDX-License-Identifier: Apache-2.0
"""A cluster with a running operator, and what a person would look at: conditions, Events, bundles, decisions.

Decisions are made by the real verifier on the bundle that the ConfigMap really holds: what a gate would say.
Requests are counted in the API server's audit log, so that the operator's own count is not its own witness.
"""

from __future__ import annotations

import base64
import itertools
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from testing.controlplane import ApiError, Cluster, wait_until
from testing.manifests import API
from testing.operator_process import Replica
from testing.tokens import Signer, claims, compact
from watchword.identity import Refusal, verify
from watchword.trust import Bundle, decode_bundle, load
from watchword.trust.bundle_forms import newest

Object = dict[str, Any]
OPERATOR_USER = "watchword-test-operator"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [OPERATOR_USER]}, {"level": "None"}],
}
GRANTS = [{"scopes": ["account:usage:read"], "accounts": ["*"]}]
AUDIENCE = "tuist-server"
_PLURALS = {
    "ClusterTrustedIssuer": "clustertrustedissuers",
    "ProtectedService": "protectedservices",
    "TrustedWorkload": "trustedworkloads",
}
_numbers = itertools.count(1)


def audit_flags(folder: Path) -> tuple[str, ...]:
    """Flags for an API server that writes down what the operator asks of it, in `folder`/audit.log."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY))
    return (
        f"--audit-policy-file={folder / 'audit-policy.json'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--audit-log-mode=blocking",
    )


@dataclass(frozen=True)
class Request:
    """A request of the operator as the API server saw it."""

    verb: str
    resource: str
    namespace: str
    name: str
    code: int


@dataclass
class Operated:
    """The cluster, its operator, and the audit log."""

    cluster: Cluster
    replica: Replica
    audit: Path
    issuer: str

    # Objects.

    def new_namespace(self, **labels: str) -> str:
        """A fresh Namespace, with labels."""
        name = f"n{next(_numbers)}"
        metadata = {"name": name, "labels": labels}
        self.cluster.request("POST", "/api/v1/namespaces", {"metadata": metadata})
        return name

    def label_namespace(self, name: str, **labels: str | None) -> None:
        """Set or, with None, remove labels of a Namespace."""
        body = {"metadata": {"labels": labels}}
        self.merge(f"/api/v1/namespaces/{name}", body)

    def service(self, namespace: str, name: str = "api", **spec: Any) -> Object:
        """A ProtectedService."""
        default: Object = {
            "audiences": [AUDIENCE],
            "selector": {"matchLabels": {"app": name}},
            "port": 8443,
            "upstreamPort": 8080,
        }
        return _object("ProtectedService", namespace, name, default | spec)

    def workload(
        self, namespace: str, name: str = "atlas", account: tuple[str, str] | None = None, **spec: Any
    ) -> Object:
        """A TrustedWorkload for `account`, by default ServiceAccount `atlas` of the same namespace."""
        place, account_name = account or (namespace, "atlas")
        default: Object = {
            "serviceRef": {"name": "api"},
            "issuerRef": {"name": self.issuer},
            "serviceAccount": {"namespace": place, "name": account_name},
            "grants": GRANTS,
            # Under Enforce, which is the default, calls of no peer do not arrive.
            "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": place}}}],
        }
        return _object("TrustedWorkload", namespace, name, default | spec)

    def trusted_issuer(self, *signers: Signer, name: str = "", **spec: Any) -> Object:
        """A ClusterTrustedIssuer with inline keys."""
        keys = {"inline": {"keys": [each.jwk for each in signers]}}
        default = {"issuer": self.cluster.issuer, "keys": keys}
        return _object("ClusterTrustedIssuer", "", name or f"i{next(_numbers)}", default | spec)

    def apply(self, *manifests: Object) -> None:
        """Apply objects, in this order."""
        for manifest in manifests:
            self.cluster.apply(manifest)

    def merge(self, path: str, body: Object) -> Object:
        """JSON merge patch, as a person's hand."""
        return self.cluster.request("PATCH", path, body, content_type="application/merge-patch+json")

    def edit(self, manifest: Object, **spec: Any) -> Object:
        """Change fields of an object's spec."""
        return self.merge(path_of(manifest), {"spec": spec})

    def delete(self, manifest: Object) -> None:
        """Delete an object."""
        self.cluster.request("DELETE", path_of(manifest))

    def read(self, manifest: Object) -> Object | None:
        """An object as it is stored; None: there is none."""
        return self.get(path_of(manifest))

    def get(self, path: str) -> Object | None:
        """Whatever is at a path; None: nothing."""
        try:
            return self.cluster.request("GET", path)
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    def account(self, namespace: str, name: str = "atlas") -> str:
        """Create a ServiceAccount; returns its UID."""
        return self.cluster.create_service_account(namespace, name)

    def pod(
        self,
        namespace: str,
        account: str,
        name: str = "",
        *,
        init_containers: Sequence[Object] = (),
        host_network: bool = False,
        **labels: str,
    ) -> str:
        """Create a Pod object with labels; returns its name."""
        pod = name or f"p{next(_numbers)}"
        self.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"namespace": namespace, "name": pod, "labels": labels},
                "spec": {
                    "serviceAccountName": account,
                    "containers": [{"name": "app", "image": "registry.invalid/app:1"}],
                    "initContainers": list(init_containers),
                    "hostNetwork": host_network,
                },
            }
        )
        return pod

    # What the operator says.

    def condition(self, manifest: Object, type_: str) -> Object:
        """A condition of an object; empty when it has none."""
        stored = self.read(manifest)
        conditions = ((stored or {}).get("status") or {}).get("conditions") or []
        return next((each for each in conditions if each["type"] == type_), {})

    def wait_for(self, manifest: Object, *expected: str) -> Object:
        """Wait until an object says each of `Type/Reason`, of its newest generation; returns the object."""
        found: Object = {}

        def says() -> bool:
            found.clear()
            found.update(self.read(manifest) or {})
            generation = found.get("metadata", {}).get("generation")
            said = {
                f"{each['type']}/{each['reason']}"
                for each in (found.get("status") or {}).get("conditions") or []
                if each["observedGeneration"] == generation
            }
            return said.issuperset(expected)

        try:
            self.replica.wait_until(says, f"{manifest['kind']} says {expected}")
        except TimeoutError:
            conditions = (found.get("status") or {}).get("conditions")
            raise AssertionError(f"{manifest['metadata']} says {json.dumps(conditions, indent=1)}") from None
        return found

    def events(self, manifest: Object, reason: str) -> list[Object]:
        """The Events of an object with a reason."""
        metadata = manifest["metadata"]
        namespace = metadata.get("namespace") or "default"
        events = self.cluster.request("GET", f"/api/v1/namespaces/{namespace}/events")["items"]
        return [
            event
            for event in events
            if event["reason"] == reason
            and event["involvedObject"]["kind"] == manifest["kind"]
            and event["involvedObject"]["name"] == metadata["name"]
        ]

    def wait_for_event(self, manifest: Object, reason: str, type_: str, says: str = "") -> Object:
        """Wait for an Event; it must be of this type and say this."""
        self.replica.wait_until(lambda: bool(self.events(manifest, reason)), f"an Event {reason}")
        event = self.events(manifest, reason)[-1]
        assert event["type"] == type_, event
        assert says in event["message"], event
        return event

    # What a gate would do.

    def config_map(self, namespace: str, name: str = "api") -> Object | None:
        """The bundle's ConfigMap."""
        return self.get(f"/api/v1/namespaces/{namespace}/configmaps/watchword-bundle-{name}")

    def bundle(self, namespace: str, name: str = "api") -> Bundle | None:
        """The bundle that is published."""
        stored = self.config_map(namespace, name)
        if stored is None:
            return None
        member = "binaryData" if "binaryData" in stored else "data"
        entries = {
            name: base64.b64decode(text) if member == "binaryData" else text.encode()
            for name, text in stored[member].items()
        }
        data = newest(entries)
        assert data is not None
        return decode_bundle(data)

    def decision(self, token: str | bytes, namespace: str, name: str = "api") -> str:
        """What a gate with the published bundle says: `allowed`, a reason's code, or `no bundle`."""
        bundle = self.bundle(namespace, name)
        if bundle is None:
            return "no bundle"
        data = token.encode() if isinstance(token, str) else token
        decision = verify(data, load(bundle).policy, time.time())
        return decision.reason.code if isinstance(decision, Refusal) else "allowed"

    def wait_for_decision(self, token: str | bytes, expected: str, namespace: str, name: str = "api") -> None:
        """Wait until a gate would say so."""
        self.replica.wait_until(
            lambda: self.decision(token, namespace, name) == expected, f"the decision is {expected}"
        )

    def token(self, namespace: str, account: str = "atlas", **request: Any) -> str:
        """A token of this cluster for the service, bound to a pod that is made for it."""
        pod = self.pod(namespace, account)
        return self.cluster.token(namespace, account, [AUDIENCE], pod=pod, **request)

    def policy(self, namespace: str, name: str = "api") -> Object | None:
        """The service's NetworkPolicy."""
        return self.get(f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/watchword-{name}")

    # What it costs.

    def requests(self) -> list[Request]:
        """Every request of the operator that was answered, but for what it asks all the time."""
        found = []
        for line in self.audit.read_text().splitlines():
            event = json.loads(line)
            reference = event.get("objectRef") or {}
            # What goes on by itself, edit or not: watches, the Lease, and this cluster's own keys.
            if event["verb"] == "watch" or reference.get("resource") in ("leases", None):
                continue
            resource = "/".join(filter(None, (reference.get("resource"), reference.get("subresource"))))
            found.append(
                Request(
                    event["verb"],
                    resource,
                    reference.get("namespace", ""),
                    reference.get("name", ""),
                    event["responseStatus"]["code"],
                )
            )
        return found

    def requests_of(self, act: Callable[[], None]) -> Counter[tuple[str, str]]:
        """What an act, and everything that follows from it, makes the operator ask: (verb, resource)."""
        self.settle()
        before = len(self.requests())
        act()
        self.settle()
        return Counter((each.verb, each.resource) for each in self.requests()[before:])

    def settle(self, timeout_seconds: float = 60.0, quiet_seconds: float = 1.5) -> None:
        """Wait until the operator has asked for nothing for longer than it ever puts an edit off.

        Args:
            timeout_seconds: for how long at most.
            quiet_seconds: more where it has much to compile, which asks for nothing either.
        """
        seen, since = -1, time.monotonic()

        def is_quiet() -> bool:
            nonlocal seen, since
            now = len(self.requests())
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since > quiet_seconds

        wait_until(is_quiet, what="the operator is quiet", timeout_seconds=timeout_seconds)


def path_of(manifest: Mapping[str, Any]) -> str:
    """The path of an object of our kinds."""
    metadata, plural = manifest["metadata"], _PLURALS[manifest["kind"]]
    place = f"/namespaces/{metadata['namespace']}" if metadata.get("namespace") else ""
    return f"/apis/{API}{place}/{plural}/{metadata['name']}"


def signed(signer: Signer, namespace: str, account: str = "atlas", **changes: Any) -> bytes:
    """A fresh projected token of a cluster whose key we hold."""
    now = int(time.time())
    uids = {"pod": {"name": "p", "uid": "p-1"}, "serviceaccount": {"name": account, "uid": "sa-1"}}
    document = claims(
        aud=[AUDIENCE],
        iat=now,
        nbf=now,
        exp=now + 600,
        sub=f"system:serviceaccount:{namespace}:{account}",
        **{"kubernetes.io": {"namespace": namespace, **uids}},
    )
    header = {"alg": signer.algorithm, "kid": signer.kid}
    return signer.sign(compact(header), compact(document | changes))


def _object(kind: str, namespace: str, name: str, spec: Object) -> Object:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return {"apiVersion": API, "kind": kind, "metadata": metadata, "spec": spec}
