# SPDX-License-Identifier: Apache-2.0
"""Floods of the webhook's TLS port and its ops port, as the API server's neighbours could send them.

While they last pods have to be reviewed: a webhook that is away lets no opted-in pod start.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testing.controlplane import Cluster, wait_until
from testing.controlplane.process import reserved_port
from testing.manifests import issuer
from testing.tokens import signer
from tests.cluster.webhook.conftest import CONFIGURATION, RunningWebhook, running_webhook
from tests.floods import shapes
from tests.floods.callers import Call
from tests.floods.pump import Flood
from tests.floods.report import endure
from tests.floods.test_gate import address_of, batch, bodies, heads
from tests.injection.pods import app_pod
from tests.shipped import access_of
from tests.webhook.reviews import review
from watchword.webhook.app import MAX_SMALL_BYTES
from watchword.webhook.review import MAX_REVIEW_BYTES

pytestmark = pytest.mark.cluster
Shape = Callable[[], Iterator[bytes]]
REVIEWED = b"POST /inject HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
PLAIN_POD = {"metadata": {"name": "plain"}, "spec": {"containers": [{"name": "app", "image": "app"}]}}


@pytest.fixture(scope="module")
def webhook(own_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningWebhook]:
    """A webhook that is ready, and what it may do."""
    for each in access_of(CONFIGURATION):
        own_cluster.apply(each)
    own_cluster.apply(issuer("webhook-test", signer("webhook-test")))
    with reserved_port() as port:
        pass
    own_cluster.apply(
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": CONFIGURATION},
            "webhooks": [],
        }
    )
    folder: Path = tmp_path_factory.mktemp("webhook")
    with running_webhook(own_cluster, folder, port) as running:
        wait_until(lambda: running.ready().status_code == 200, what="the webhook is ready")
        yield running


def unchecked() -> ssl.SSLContext:
    """A stranger's TLS: whose certificate it is does not matter to a flood."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def review_call(webhook: RunningWebhook) -> Call:
    headers = {"Content-Type": "application/json"}
    return Call("127.0.0.1", webhook.port, "POST", "/inject", headers, review(PLAIN_POD), unchecked())


def reviews() -> list[tuple[str, Shape, int]]:
    """AdmissionReviews that nobody needs."""
    large = review(app_pod(metadata__annotations={f"a{each}": "x" * 1000 for each in range(2500)}))
    deep = REVIEWED + b"Content-Length: 3000000\r\n\r\n" + b"[" * 3_000_000
    too_large = b"[" * (MAX_REVIEW_BYTES + 1)
    slow = b"Content-Length: %d\r\n\r\n{" % MAX_REVIEW_BYTES
    small = shapes.with_body(REVIEWED, b" " * MAX_SMALL_BYTES)[:-1]
    numbers = shapes.with_body(REVIEWED, batch(b"1", 3_000_000))
    return [
        ("large reviews", lambda: shapes.whole(shapes.with_body(REVIEWED, large), 4), 16),
        ("reviews of nothing but depth", lambda: shapes.whole(deep, 2), 16),
        ("reviews of numbers", lambda: shapes.whole(numbers, 2), 16),
        ("unfinished large reviews", lambda: iter([shapes.with_body(REVIEWED, large)[:-1]]), 64),
        (
            "reviews announced a byte too large",
            lambda: shapes.whole(shapes.with_body(REVIEWED, too_large), 2),
            32,
        ),
        ("reviews of chunks that never end", lambda: shapes.endless_chunks(REVIEWED), 64),
        ("large reviews of which one byte comes", lambda: iter([REVIEWED + slow]), 240),
        ("unfinished reviews of the largest small size", lambda: iter([small]), 240),
    ]


@pytest.mark.parametrize(
    ("name", "shape", "connections"), [*heads()[:5], *bodies(REVIEWED), *reviews()], ids=str
)
def test_the_webhook_endures(webhook: RunningWebhook, name: str, shape: Shape, connections: int) -> None:
    address = ("127.0.0.1", webhook.port)
    flood = Flood(address, lambda _: shape(), min(connections, 400), context=unchecked())
    endure("webhook", name, webhook.pid, review_call(webhook), flood)


@pytest.mark.parametrize(
    ("name", "shape", "connections"),
    [
        ("900 handshakes that stall", shapes.stalled_handshake, 900),
        ("900 connections without a byte", lambda: iter(()), 900),
        ("endless handshakes", shapes.endless_handshake, 32),
    ],
)
def test_the_webhook_endures_below_tls(
    webhook: RunningWebhook, name: str, shape: Shape, connections: int
) -> None:
    flood = Flood(("127.0.0.1", webhook.port), lambda _: shape(), connections)
    endure("webhook", name, webhook.pid, review_call(webhook), flood)


@pytest.mark.parametrize("connections", [8, 100])
def test_reviews_pipelined_without_reading(webhook: RunningWebhook, connections: int) -> None:
    request = shapes.with_body(REVIEWED, review(PLAIN_POD))
    address = ("127.0.0.1", webhook.port)
    flood = Flood(address, lambda _: shapes.pipelined(request), connections, 16 * 2**20, context=unchecked())
    endure("webhook", "reviews pipelined, unread", webhook.pid, review_call(webhook), flood)


@pytest.mark.parametrize(
    ("name", "shape", "connections"), [*heads(), *bodies(b"POST /healthz HTTP/1.1\r\nHost: a\r\n")]
)
def test_the_webhooks_ops_port_endures(
    webhook: RunningWebhook, name: str, shape: Shape, connections: int
) -> None:
    flood = Flood(address_of(webhook.ops), lambda _: shape(), connections)
    endure("webhook", f"ops: {name}", webhook.pid, review_call(webhook), flood)
