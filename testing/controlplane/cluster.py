# SPDX-License-Identifier: Apache-2.0
"""A real Kubernetes API server for tests: real keys, real objects, real tokens, real answers about them.

What runs is kube-apiserver and etcd. What does not run: controllers (a deleted Namespace stays in
`Terminating`, nothing makes a `default` ServiceAccount), a scheduler, kubelets (a Pod is an object, and never
starts). Without a token controller nothing fills legacy Secrets; `legacy_token` does, with the cluster's key.
"""

from __future__ import annotations

import base64
import csv
import io
import json
import secrets
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from testing.controlplane.api import ApiClient, Json
from testing.controlplane.binary import Binaries, find_binaries
from testing.controlplane.certificates import (
    Authority,
    ServingFiles,
    new_authority,
    write_private_file,
    write_serving_files,
)
from testing.controlplane.etcd import Etcd, start_etcd
from testing.controlplane.place import HERE, Place
from testing.controlplane.process import Program, running_program
from testing.controlplane.signing import Algorithm, SigningKey

DEFAULT_ISSUER = "https://kubernetes.default.svc.cluster.local"
ADMINISTRATOR = "watchword-test-administrator"
_KUBERNETES_ADDRESS = "10.0.0.1"  # of the Service `kubernetes`: the first of the range below
_ALONE = (
    "--authorization-mode=RBAC",
    # It waits for objects that the controllers of a whole cluster make.
    "--disable-admission-plugins=ServiceAccount",
    # The addresses of the `kubernetes` Service must not be loopback ones, and nothing here uses them.
    "--endpoint-reconciler-type=none",
)
_WITH_CONTROLLERS = (
    "--authorization-mode=Node,RBAC",
    "--enable-admission-plugins=NodeRestriction",
    "--allow-privileged=true",  # as kubeadm sets it: Pod Security is what forbids
    "--endpoint-reconciler-type=lease",
)


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running API server. Methods raise `testing.controlplane.api.ApiError` when it refuses.

    `url` is how it is reached from here; `inner_url` is how servers beside it, in its own place, reach it.
    """

    url: str
    inner_url: str
    issuer: str
    additional_issuers: tuple[str, ...]
    api_audiences: tuple[str, ...]
    authority: Path
    kubeconfig: Path
    log: Path
    program: Program
    etcd: Etcd
    _key: SigningKey = field(repr=False)
    _api: ApiClient = field(repr=False)
    _bearers: Mapping[str, str] = field(repr=False)

    @property
    def pid(self) -> int:
        """The process id of the API server."""
        return self.program.pid

    @property
    def algorithm(self) -> Algorithm:
        """The algorithm of every token of this cluster."""
        return self._key.algorithm

    @property
    def key_id(self) -> str:
        """The `kid` of every token of this cluster."""
        return self._key.key_id

    @property
    def token_header(self) -> dict[str, Any]:
        """The JOSE header of every token of this cluster: a fresh dict, to be changed at will."""
        return self._key.header

    def bearer(self, user: str) -> str:
        """The static token of one of the `users` that the cluster was started with."""
        return self._bearers[user]

    def request(
        self,
        method: str,
        path: str,
        json: Json | None = None,
        *,
        parameters: Mapping[str, str] | None = None,
        content_type: str = "application/json",
        bearer: str | None = None,
    ) -> Json:
        """Send any request, as the administrator or with the token `bearer`; return the JSON object."""
        return self._api.request(
            method, path, json, parameters=parameters, content_type=content_type, bearer=bearer
        )

    def apply(self, manifest: Json, *, field_manager: str = "watchword-tests") -> Json:
        """Server-side apply one object; after a CustomResourceDefinition, wait until it is served."""
        return self._api.apply(manifest, field_manager=field_manager)

    def path_of(self, manifest: Json) -> str:
        """The URL path of the object that a manifest describes, as discovery says."""
        return self._api.path_of(manifest)

    def create_namespace(self, name: str) -> str:
        """Create a Namespace and return its UID."""
        return self._create("/api/v1/namespaces", {"metadata": {"name": name}})

    def create_service_account(self, namespace: str, name: str) -> str:
        """Create a ServiceAccount and return its UID."""
        return self._create(f"{_in(namespace)}/serviceaccounts", {"metadata": {"name": name}})

    def create_node(self, name: str) -> str:
        """Create a Node object, behind which there is no machine, and return its UID."""
        return self._create("/api/v1/nodes", {"metadata": {"name": name}})

    def create_pod(self, namespace: str, name: str, service_account: str, *, node: str | None = None) -> str:
        """Create a Pod object that never runs, assigned to `node` if said, and return its UID."""
        specification: Json = {
            "serviceAccountName": service_account,
            "containers": [{"name": "app", "image": "registry.invalid/app:1"}],
        }
        if node is not None:
            specification["nodeName"] = node
        return self._create(f"{_in(namespace)}/pods", {"metadata": {"name": name}, "spec": specification})

    def create_secret(self, namespace: str, name: str) -> str:
        """Create an empty Secret, for a token to be bound to, and return its UID."""
        return self._create(f"{_in(namespace)}/secrets", {"metadata": {"name": name}})

    def delete_service_account(self, namespace: str, name: str) -> None:
        """Delete a ServiceAccount; tokens already minted for it keep their good signatures."""
        self.request("DELETE", f"{_in(namespace)}/serviceaccounts/{_segment(name)}")

    def delete_pod(self, namespace: str, name: str) -> None:
        """Delete a Pod at once: no kubelet is there to end its grace period."""
        self.request("DELETE", f"{_in(namespace)}/pods/{_segment(name)}", {"gracePeriodSeconds": 0})

    def token(
        self,
        namespace: str,
        service_account: str,
        audiences: Sequence[str] = (),
        *,
        expiration_seconds: int = 600,
        pod: str | tuple[str, str] | None = None,
        secret: str | tuple[str, str] | None = None,
        node: str | tuple[str, str] | None = None,
    ) -> str:
        """Have the API server mint a token, as a kubelet does for a projected volume (TokenRequest).

        Without `audiences` it is for the API server itself. `pod`, `secret` or `node` binds it to that
        object, given as a name or as (name, UID). The server refuses `expiration_seconds` under 600.
        """
        specification: Json = {"audiences": list(audiences), "expirationSeconds": expiration_seconds}
        for kind, bound in (("Pod", pod), ("Secret", secret), ("Node", node)):
            if bound is not None:
                name, uid = (bound, None) if isinstance(bound, str) else bound
                reference = {"apiVersion": "v1", "kind": kind, "name": name}
                specification["boundObjectRef"] = reference if uid is None else {**reference, "uid": uid}
        path = f"{_in(namespace)}/serviceaccounts/{_segment(service_account)}/token"
        minted: str = self.request("POST", path, {"spec": specification})["status"]["token"]
        return minted

    def legacy_token(self, namespace: str, service_account: str, *, secret: str | None = None) -> str:
        """A long-lived token in a new Secret (`SERVICE-ACCOUNT-token` unless said), as clusters still hold.

        In production the token controller makes it. Here we sign the same claims with the cluster's own key
        and store it, so that the API server accepts it; `token_review` is the proof that the form is right.
        """
        path = f"{_in(namespace)}/serviceaccounts/{_segment(service_account)}"
        account_uid = self.request("GET", path)["metadata"]["uid"]
        name = secret or f"{service_account}-token"
        prefix = "kubernetes.io/serviceaccount"
        signed = self.sign(
            self.token_header,
            {
                "iss": "kubernetes/serviceaccount",
                f"{prefix}/namespace": namespace,
                f"{prefix}/secret.name": name,
                f"{prefix}/service-account.name": service_account,
                f"{prefix}/service-account.uid": account_uid,
                "sub": f"system:serviceaccount:{namespace}:{service_account}",
            },
        )
        annotations = {
            "kubernetes.io/service-account.name": service_account,
            "kubernetes.io/service-account.uid": account_uid,
        }
        stored = {"namespace": namespace, "ca.crt": self.authority.read_text(), "token": signed}
        self._create(
            f"{_in(namespace)}/secrets",
            {
                "metadata": {"name": name, "annotations": annotations},
                "type": "kubernetes.io/service-account-token",
                "data": {key: base64.b64encode(value.encode()).decode() for key, value in stored.items()},
            },
        )
        return signed

    def sign(self, header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
        """Sign exactly this header and these claims with the cluster's own key (see `token_header`)."""
        return self._key.sign(header, claims)

    def jwks(self) -> Json:
        """The cluster's public keys, from `/openid/v1/jwks`."""
        return self.request("GET", "/openid/v1/jwks")

    def token_review(self, token: str, audiences: Sequence[str] = ()) -> Json:
        """The `status` of a TokenReview: whether the API server itself takes this token, now.

        It remembers a yes for 10 s: to see a no after a deletion, ask about a token not asked about before.
        """
        review = {"spec": {"token": token, "audiences": list(audiences)}}
        status: Json = self.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]
        return status

    def _create(self, path: str, manifest: Json) -> str:
        uid: str = self.request("POST", path, manifest)["metadata"]["uid"]
        return uid


@contextmanager
def start_cluster(
    folder: Path,
    *,
    issuer: str = DEFAULT_ISSUER,
    additional_issuers: Sequence[str] = (),
    api_audiences: Sequence[str] | None = None,
    algorithm: Algorithm = "RS256",
    users: Mapping[str, Sequence[str]] | None = None,
    etcd: Etcd | None = None,
    binaries: Binaries | None = None,
    flags: Sequence[str] = (),
    place: Place = HERE,
    authority: Authority | None = None,
    has_controllers: bool = False,
) -> Iterator[Cluster]:
    """Run an API server with a fresh signing key until the block ends; its files and logs are in `folder`.

    It signs with `issuer` and also accepts `additional_issuers`. `api_audiences`: what the API server calls
    itself (the issuers unless said). `users` maps further user names to their groups; see `Cluster.bearer`. A
    given `etcd` is shared under a prefix of this cluster's own. `flags` come last on the command line.

    It runs in `place`, with a certificate by `authority` (a new one unless said). With `has_controllers`
    somebody runs beside it what a whole cluster has: the ServiceAccount admission and the Node authorizer are
    on, `authority` vouches for clients too, and the `kubernetes` Service leads to it.

    Raises `StartFailedError`, and what `find_binaries` raises.
    """
    programs = binaries or find_binaries()
    folder.mkdir(parents=True, exist_ok=True)
    serving = write_serving_files(
        authority or new_authority(folder), addresses=[place.address, _KUBERNETES_ADDRESS]
    )
    key = SigningKey(algorithm)
    key.write_private(folder / "service-account.key")
    key.write_public(folder / "service-account.pub")
    groups = {**(users or {}), ADMINISTRATOR: ("system:masters",)}
    bearers = {user: secrets.token_urlsafe(32) for user in groups}
    write_private_file(folder / "users.csv", _token_file(bearers, groups))
    issuers = (issuer, *additional_issuers)
    with ExitStack() as stack:
        store = etcd or stack.enter_context(start_etcd(folder, binaries=programs, place=place))
        port, reached_at = stack.enter_context(place.port())
        url = f"https://127.0.0.1:{reached_at}"
        api = ApiClient(url, serving.authority, bearers[ADMINISTRATOR])
        stack.callback(api.close)
        command = [
            str(programs.kube_apiserver),
            f"--etcd-servers={store.url}",
            f"--etcd-prefix=/{uuid.uuid4()}",
            f"--bind-address={'0.0.0.0' if has_controllers else '127.0.0.1'}",
            f"--advertise-address={place.address}",
            f"--secure-port={port}",
            "--permit-port-sharing=true",
            f"--tls-cert-file={serving.certificate}",
            f"--tls-private-key-file={serving.private_key}",
            f"--cert-dir={folder}",
            *(f"--service-account-issuer={accepted}" for accepted in issuers),
            f"--service-account-signing-key-file={folder / 'service-account.key'}",
            f"--service-account-key-file={folder / 'service-account.pub'}",
            *([f"--api-audiences={','.join(api_audiences)}"] if api_audiences else []),
            f"--token-auth-file={folder / 'users.csv'}",
            "--service-cluster-ip-range=10.0.0.0/24",
            *([*_WITH_CONTROLLERS, f"--client-ca-file={serving.authority}"] if has_controllers else _ALONE),
            *flags,
        ]
        log = folder / "kube-apiserver.log"
        program = stack.enter_context(
            running_program(command, log=log, is_ready=api.is_ready, enter=place.enter)
        )
        yield Cluster(
            url=url,
            inner_url=f"https://{place.address}:{port}",
            issuer=issuer,
            additional_issuers=tuple(additional_issuers),
            api_audiences=tuple(api_audiences or issuers),
            authority=serving.authority,
            kubeconfig=_write_kubeconfig(folder, url, serving, bearers[ADMINISTRATOR]),
            log=log,
            program=program,
            etcd=store,
            _key=key,
            _api=api,
            _bearers=bearers,
        )


def _token_file(bearers: Mapping[str, str], groups: Mapping[str, Sequence[str]]) -> bytes:
    """A static token file: token, user, uid, "group,group" (Kubernetes docs: Authenticating)."""
    table = io.StringIO()
    csv.writer(table).writerows((bearers[user], user, user, ",".join(groups[user])) for user in groups)
    return table.getvalue().encode()


def _write_kubeconfig(folder: Path, url: str, serving: ServingFiles, bearer: str) -> Path:
    """A kubeconfig for the administrator, with a path to the authority; JSON is YAML."""
    path = folder / "kubeconfig"
    name = "watchword-test"
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": url, "certificate-authority": str(serving.authority)}}
        ],
        "users": [{"name": ADMINISTRATOR, "user": {"token": bearer}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": ADMINISTRATOR}}],
        "current-context": name,
    }
    write_private_file(path, json.dumps(content, indent=2).encode())
    return path


def _in(namespace: str) -> str:
    return f"/api/v1/namespaces/{_segment(namespace)}"


def _segment(name: str) -> str:
    return quote(name, safe="")
