# SPDX-License-Identifier: Apache-2.0
"""What the chart asks of cert-manager, done by cert-manager's own controllers, and the webhook on top of it.

A pod that asks for a gate is refused whenever the API server does not trust what the webhook serves. So pods
are made after each renewal, before the new files are there (a kubelet brings them a minute later) and after.
"""

from __future__ import annotations

import base64
import itertools
import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from testing.certmanager import renew, running_certmanager
from testing.controlplane import Binaries, Cluster, Etcd, start_cluster, wait_until
from testing.controlplane.api import ApiError
from testing.controlplane.process import reserved_port
from tests.charts.conftest import Helm
from tests.cluster.webhook.conftest import CONFIGURATION, SYSTEM, running_webhook
from tests.injection.pods import app_pod
from watchword.trust.crd.definitions import definitions

Json = dict[str, Any]
LEAF, AUTHORITY = "watchword-webhook", "watchword-webhook-ca"
SECRETS = {LEAF: "watchword-webhook-tls", AUTHORITY: "watchword-webhook-ca"}
CONFIGURED = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
ACCESS = ("ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
WAIT_SECONDS = 180.0
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def certified(
    certmanager_program: Path,
    control_plane: Binaries,
    etcd: Etcd,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Cluster]:
    """An API server with cert-manager, and Watchword's kinds."""
    folder = tmp_path_factory.mktemp("certified")
    with start_cluster(folder / "cluster", etcd=etcd, binaries=control_plane) as cluster:
        cluster.create_namespace(SYSTEM)
        for definition in definitions():
            cluster.apply(definition)
        with running_certmanager(cluster, certmanager_program, folder / "certmanager"):
            yield cluster


@dataclass
class Place:
    """A webhook on a certificate of cert-manager's, and what a kubelet would do for it."""

    cluster: Cluster
    folder: Path
    namespace: str
    port: int

    def secret(self, certificate: str) -> dict[str, bytes]:
        """What cert-manager keeps of a Certificate; empty while there is nothing."""
        try:
            found = self.cluster.request("GET", f"/api/v1/namespaces/{SYSTEM}/secrets/{SECRETS[certificate]}")
        except ApiError as error:
            if error.status != 404:
                raise
            return {}
        return {key: base64.b64decode(text) for key, text in found.get("data", {}).items()}

    def trusted(self) -> str:
        """The PEM certificates that the API server trusts; empty while one of the webhooks has none."""
        found = self.cluster.request("GET", CONFIGURED)["webhooks"]
        texts = {each["clientConfig"].get("caBundle", "") for each in found}
        return base64.b64decode(texts.pop()).decode() if len(texts) == 1 else ""

    def inject(self) -> None:
        """Do what cert-manager's CA injector does: trust what the leaf's Secret says that it is signed by."""
        found = self.cluster.request("GET", CONFIGURED)["webhooks"]
        bundle = base64.b64encode(self.secret(LEAF)["ca.crt"]).decode()
        changes = [
            {"op": "add", "path": f"/webhooks/{place}/clientConfig/caBundle", "value": bundle}
            for place in range(len(found))
        ]
        self.cluster.request("PATCH", CONFIGURED, changes, content_type="application/json-patch+json")

    def mount(self) -> None:
        """Bring the Secret's files to where the webhook reads them, each whole at once."""
        data = self.secret(LEAF)
        for name in ("tls.key", "tls.crt"):
            (self.folder / f"{name}.new").write_bytes(data[name])
            os.replace(self.folder / f"{name}.new", self.folder / name)

    def served(self) -> bytes:
        """The certificate that the webhook serves now, by a handshake that trusts what the API server trusts.

        Raises `ssl.SSLCertVerificationError` where that does not hold.
        """
        context = ssl.create_default_context(cadata=self.trusted())
        with (
            socket.create_connection(("localhost", self.port), 30) as link,
            context.wrap_socket(link, server_hostname="localhost") as secured,
        ):
            found = secured.getpeercert(binary_form=True)
        assert found is not None
        return found

    def renew(self, certificate: str) -> None:
        """Have cert-manager renew a certificate, and wait until it did."""
        before = self.secret(certificate)["tls.crt"]
        renew(self.cluster, SYSTEM, certificate)
        wait_until(
            lambda: self.secret(certificate).get("tls.crt", before) != before,
            what=f"{certificate} is renewed",
            timeout_seconds=WAIT_SECONDS,
        )
        self.inject()

    def make_pod(self) -> None:
        """Make a pod that asks for a gate. Raises `ApiError` where the webhook is not trusted."""
        pod = app_pod()
        pod["metadata"] |= {"name": f"app-{next(_numbers)}", "namespace": self.namespace}
        made = self.cluster.request("POST", f"/api/v1/namespaces/{self.namespace}/pods", pod)
        assert made["spec"]["initContainers"][0]["name"] == "watchword-gate"

    def is_made(self) -> bool:
        """Whether such a pod can be made."""
        try:
            self.make_pod()
        except ApiError:
            return False
        return True


def objects_of(helm: Helm, port: int, *, signs_itself: bool) -> list[Json]:
    """What the chart has for the webhook with cert-manager; or as once, with a leaf that signs itself."""
    chosen = [
        each
        for each in helm.template({"webhook": {"certificates": "cert-manager"}})
        if each["kind"] in {"Certificate", "Issuer", "MutatingWebhookConfiguration"}
        or (each["kind"] in ACCESS and each["metadata"]["name"] == CONFIGURATION)
    ]
    for each in chosen:
        if each["kind"] == "MutatingWebhookConfiguration":
            for webhook in each["webhooks"]:
                # For want of a cluster network.
                webhook["clientConfig"] = {"url": f"https://localhost:{port}/inject"}
        if (each["kind"], each["metadata"]["name"]) == ("Certificate", LEAF):
            each["spec"]["dnsNames"].append("localhost")
            if signs_itself:
                each["spec"]["issuerRef"] = {"kind": "Issuer", "name": LEAF}
    return chosen


@contextmanager
def installed(helm: Helm, cluster: Cluster, folder: Path, *, signs_itself: bool = False) -> Iterator[Place]:
    """The webhook, called by the API server; it and all that was made for it are gone at the end."""
    with reserved_port() as port:
        pass
    objects = objects_of(helm, port, signs_itself=signs_itself)
    place = Place(cluster, folder, f"asks-{next(_numbers)}", port)
    labels = {"watchword.dev/injection": "enabled"}
    service = {
        "apiVersion": "watchword.dev/v1alpha1",
        "kind": "ProtectedService",
        "metadata": {"namespace": place.namespace, "name": "tuist-server"},
        "spec": {"selector": {"matchLabels": {"app": "tuist-server"}}, "port": 8443, "upstreamPort": 8080},
    }
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": place.namespace, "labels": labels},
    }
    for each in (namespace, service, *objects):
        cluster.apply(each)
    try:
        wait_until(
            lambda: "tls.crt" in place.secret(LEAF), what="a certificate", timeout_seconds=WAIT_SECONDS
        )
        place.inject()
        place.mount()
        flags = ("--tls-cert", str(folder / "tls.crt"), "--tls-key", str(folder / "tls.key"))
        with running_webhook(cluster, folder, port, *flags):
            wait_until(place.is_made, what="a first pod with a gate", timeout_seconds=WAIT_SECONDS)
            yield place
    finally:
        for each in reversed(objects):
            cluster.request("DELETE", cluster.path_of(each))
        # No garbage collector runs here.
        cluster.request("DELETE", f"/apis/cert-manager.io/v1/namespaces/{SYSTEM}/certificaterequests")
        for certificate, name in SECRETS.items():
            if place.secret(certificate):
                cluster.request("DELETE", f"/api/v1/namespaces/{SYSTEM}/secrets/{name}")


def der(pem: bytes) -> bytes:
    """The first certificate of a chain."""
    return x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)


def test_renewing_the_certificate_changes_no_trust_and_refuses_no_pod(
    helm: Helm, certified: Cluster, tmp_path: Path
) -> None:
    with installed(helm, certified, tmp_path) as place:
        trusted, first = place.trusted(), place.served()
        authority = x509.load_pem_x509_certificate(trusted.encode())
        assert authority.subject == x509.load_der_x509_certificate(first).issuer
        assert first != authority.public_bytes(Encoding.DER)

        place.renew(LEAF)
        assert place.trusted() == trusted
        # The kubelet has not brought the files yet: the old certificate is served, and still trusted.
        assert place.served() == first
        place.make_pod()
        place.mount()
        renewed = der(place.secret(LEAF)["tls.crt"])
        assert renewed != first
        wait_until(lambda: place.served() == renewed, what="it serves the new one", timeout_seconds=60)
        place.make_pod()
        assert place.trusted() == trusted

        # The authority itself, after years: under the same key, so that no order of events refuses a pod.
        key = authority.public_key()
        place.renew(AUTHORITY)
        again = x509.load_pem_x509_certificate(place.secret(AUTHORITY)["tls.crt"])
        assert again.public_key() == key
        assert place.served() == renewed
        place.make_pod()
        place.renew(LEAF)
        assert x509.load_pem_x509_certificate(place.trusted().encode()) == again
        # What its old certificate vouched for, its new one does too.
        assert place.served() == renewed
        place.make_pod()
        place.mount()
        last = der(place.secret(LEAF)["tls.crt"])
        wait_until(lambda: place.served() == last, what="it serves the last one", timeout_seconds=60)
        place.make_pod()


def test_a_certificate_that_signs_itself_refuses_pods_until_the_kubelet_has_come(
    helm: Helm, certified: Cluster, tmp_path: Path
) -> None:
    """What the chart once did: without this, the test above could pass for another reason."""
    with installed(helm, certified, tmp_path, signs_itself=True) as place:
        trusted = place.trusted()
        place.renew(LEAF)
        assert place.trusted() != trusted
        with pytest.raises(ssl.SSLCertVerificationError):
            place.served()
        wait_until(lambda: not place.is_made(), what="pods are refused", timeout_seconds=60)
        place.mount()
        wait_until(place.is_made, what="pods are made again", timeout_seconds=60)
