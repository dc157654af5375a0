# SPDX-License-Identifier: Apache-2.0
"""Pods as the API server stores them after it asked the webhook, and what it answers when it could not."""

from __future__ import annotations

import asyncio
import base64
import itertools
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from testing.controlplane import Cluster
from testing.controlplane.api import ApiError
from testing.controlplane.process import reserved_port, wait_until
from tests.cluster.webhook.conftest import CONFIGURATION, SYSTEM, RunningWebhook, running_webhook
from tests.injection.pods import app_pod, caller_pod
from watchword.kube.connection import Connection
from watchword.kube.names import NamespacedName
from watchword.kube.requests import ApiClient, UnavailableError
from watchword.kube.watch import Endpoint
from watchword.webhook.app import readiness
from watchword.webhook.certificate_rotation import CertificateRotator
from watchword.webhook.certificates import make_pair, utc_now
from watchword.webhook.configuration_check import ConfigurationCheck
from watchword.webhook.serve import WebhookSettings

_numbers = itertools.count(1)
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


def namespace(cluster: Cluster, *, enabled: bool = True, labels: dict[str, str] | None = None) -> str:
    name = f"inject-{next(_numbers)}"
    given = {**(labels or {}), **({"watchword.dev/injection": "enabled"} if enabled else {})}
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": given}})
    return name


def own_audience(cluster: Cluster, where: str, name: str = "tuist-server") -> str:
    """The audience that a token for a service must have, whatever its object says."""
    uid = cluster.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    return f"watchword.dev/services/{uid}/{where}/{name}"


def publish(cluster: Cluster, where: str, name: str = "tuist-server", audience: str | None = None) -> None:
    """Say in a service's status what the operator would say, or something else."""
    said = own_audience(cluster, where, name) if audience is None else audience
    cluster.request(
        "PATCH",
        f"/apis/watchword.dev/v1alpha1/namespaces/{where}/protectedservices/{name}/status",
        {"status": {"audience": said}},
        content_type="application/merge-patch+json",
    )


def protect(cluster: Cluster, where: str, name: str = "tuist-server", **spec: Any) -> None:
    cluster.apply(
        {
            "apiVersion": "watchword.dev/v1alpha1",
            "kind": "ProtectedService",
            "metadata": {"namespace": where, "name": name},
            "spec": {
                "audiences": [name],
                "selector": {"matchLabels": {"app": name}},
                "port": 8443,
                "upstreamPort": 8080,
                "serviceAccountName": "tuist-server",
                **spec,
            },
        }
    )


def create(cluster: Cluster, where: str, pod: dict[str, Any]) -> dict[str, Any]:
    pod["metadata"]["name"] = f"pod-{next(_numbers)}"
    return cluster.request("POST", f"/api/v1/namespaces/{where}/pods", pod)


def test_a_labelled_pod_is_stored_with_its_gate(installed: Cluster, webhook: RunningWebhook) -> None:
    where = namespace(installed)
    protect(installed, where)
    stored = create(installed, where, app_pod())
    gate = stored["spec"]["initContainers"][0]
    assert (gate["name"], gate["restartPolicy"]) == ("watchword-gate", "Always")
    assert gate["image"] == "registry.invalid/watchword:test"
    assert f"--watch={where}/watchword-bundle-tuist-server" in gate["args"]
    assert stored["spec"]["containers"][0]["name"] == "app"


def test_a_caller_is_stored_with_its_token_volume(installed: Cluster, webhook: RunningWebhook) -> None:
    where, own = namespace(installed), namespace(installed, enabled=False)
    protect(installed, where)
    publish(installed, where)
    stored = create(
        installed, own, caller_pod(metadata__labels={"watchword.dev/call": f"{where}.tuist-server"})
    )
    [source] = next(each for each in stored["spec"]["volumes"] if each["name"] == "watchword-token")[
        "projected"
    ]["sources"]
    assert source["serviceAccountToken"]["audience"] == own_audience(installed, where)


@pytest.mark.parametrize(
    "declared", ["another-service", "https://kubernetes.default.svc", "sts.amazonaws.com"]
)
def test_a_caller_gets_the_derived_audience_whatever_the_callee_declares(
    installed: Cluster, webhook: RunningWebhook, declared: str
) -> None:
    where, own = namespace(installed), namespace(installed, enabled=False)
    protect(installed, where, audiences=[declared])
    publish(installed, where)
    stored = create(
        installed, own, caller_pod(metadata__labels={"watchword.dev/call": f"{where}.tuist-server"})
    )
    [volume] = [each for each in stored["spec"]["volumes"] if each["name"] == "watchword-token"]
    minted = [each["serviceAccountToken"]["audience"] for each in volume["projected"]["sources"]]
    assert minted == [own_audience(installed, where)]


@pytest.mark.parametrize("said", [None, "", "tuist-server", "another's", "a slash more"])
def test_a_service_that_does_not_say_its_derived_audience_gets_no_callers(
    installed: Cluster, webhook: RunningWebhook, said: str | None
) -> None:
    where, own = namespace(installed), namespace(installed, enabled=False)
    protect(installed, where)
    if said is not None:
        others = {
            "another's": own_audience(installed, "tuist"),
            "a slash more": own_audience(installed, where) + "/",
        }
        publish(installed, where, audience=others.get(said, said))
    pod = caller_pod(metadata__labels={"watchword.dev/call": f"{where}.tuist-server"})
    with pytest.raises(ApiError) as refused:
        create(installed, own, pod)
    assert "AudienceNotPublished" in str(refused.value)
    assert own_audience(installed, where) in str(refused.value)
    publish(installed, where)
    assert create(installed, own, pod)["spec"]["volumes"][-1]["name"] == "watchword-token"


def test_a_service_of_the_same_second_is_found(installed: Cluster, webhook: RunningWebhook) -> None:
    for _ in range(10):
        where = namespace(installed)
        protect(installed, where)
        assert create(installed, where, app_pod())["spec"]["initContainers"][0]["name"] == "watchword-gate"


def test_the_injected_pod_passes_pod_security_restricted(installed: Cluster, webhook: RunningWebhook) -> None:
    where = namespace(installed, labels=RESTRICTED)
    protect(installed, where)
    publish(installed, where)
    pod = app_pod(metadata__labels={"watchword.dev/call": f"{where}.tuist-server"})
    assert create(installed, where, pod)["metadata"]["annotations"]["watchword.dev/injected"] == "gate,token"
    # The standard is really enforced there: the same pod without its promises is refused.
    pod["spec"]["containers"][0]["securityContext"] = {}
    with pytest.raises(ApiError, match="restricted"):
        create(installed, where, pod)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec__hostNetwork": True}, "without hostNetwork"),
        ({"metadata__labels": {"app": "other"}}, "no ProtectedService of the namespace"),
        ({"metadata__labels": {"watchword.dev/call": "nowhere.none"}}, "create it first"),
    ],
)
def test_who_made_the_pod_is_told_why_it_was_refused(
    installed: Cluster, webhook: RunningWebhook, change: dict[str, Any], said: str
) -> None:
    where = namespace(installed)
    protect(installed, where)
    with pytest.raises(ApiError, match=r"Watchword cannot inject this pod") as refused:
        create(installed, where, app_pod(**change))
    assert said in str(refused.value)


def test_who_did_not_ask_is_not_even_seen(installed: Cluster, webhook: RunningWebhook) -> None:
    where = namespace(installed)
    protect(installed, where)
    before = webhook.counted("watchword_webhook_admissions_total")
    plain = app_pod()
    del plain["metadata"]["labels"]["watchword.dev/gate"]
    assert len(create(installed, where, plain)["spec"]["initContainers"]) == 1
    assert webhook.counted("watchword_webhook_admissions_total") == before


def test_the_certificate_is_made_once_for_all_replicas(
    installed: Cluster, webhook: RunningWebhook, tmp_path: Path, unused_port: int
) -> None:
    path = f"/api/v1/namespaces/{SYSTEM}/secrets/watchword-webhook-tls"
    before = installed.request("GET", path)
    with running_webhook(installed, tmp_path, unused_port, name="second"):
        after = installed.request("GET", path)
    assert after["data"] == before["data"]
    assert after["type"] == "kubernetes.io/tls"


def test_a_broken_certificate_is_made_anew_and_trusted_beside_the_old_one(
    installed: Cluster, webhook: RunningWebhook, tmp_path: Path, unused_port: int
) -> None:
    path = f"/api/v1/namespaces/{SYSTEM}/secrets/watchword-webhook-tls"
    secret = installed.request("GET", path)
    installed.request("PUT", path, {**secret, "data": {"tls.crt": "", "tls.key": ""}})
    with running_webhook(installed, tmp_path, unused_port, name="second"):
        assert installed.request("GET", path)["data"]["tls.crt"] != secret["data"]["tls.crt"]
        # The first one still serves the old certificate, and the API server still takes it.
        where = namespace(installed)
        protect(installed, where)
        create(installed, where, app_pod())
    found = installed.request(
        "GET", f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
    )
    for each in found["webhooks"]:
        assert base64.b64decode(each["clientConfig"]["caBundle"]).count(b"BEGIN CERTIFICATE") == 2


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with reserved_port() as port:
        return port


def test_with_the_webhook_away_only_those_who_asked_wait(
    installed: Cluster, webhook: RunningWebhook, tmp_path: Path
) -> None:
    where = namespace(installed)
    protect(installed, where)
    os.kill(webhook.pid, signal.SIGSTOP)
    try:
        plain = app_pod()
        del plain["metadata"]["labels"]["watchword.dev/gate"]
        create(installed, where, plain)
        with pytest.raises(ApiError, match=r"failed calling webhook"):
            create(installed, where, app_pod())
    finally:
        os.kill(webhook.pid, signal.SIGCONT)

    def is_back() -> bool:
        try:
            create(installed, where, app_pod())
        except ApiError:
            return False
        return True

    wait_until(is_back, what="the webhook answers again", timeout_seconds=60)


def test_the_key_is_in_no_log(installed: Cluster, webhook: RunningWebhook) -> None:
    assert b"PRIVATE KEY" not in webhook.log.read_bytes()


def test_with_a_certificate_of_others_it_is_not_ready_without_its_configuration_either(
    installed: Cluster, webhook: RunningWebhook, tmp_path: Path, unused_port: int
) -> None:
    pair = make_pair(("localhost",), utc_now())
    files = {
        "--tls-cert": (tmp_path / "tls.crt", pair.certificate),
        "--tls-key": (tmp_path / "tls.key", pair.key),
    }
    for path, content in files.values():
        path.write_bytes(content)
    flags = [text for flag, (path, _) in files.items() for text in (flag, str(path))]
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
    kept = installed.request("GET", path)
    kept["metadata"] = {"name": CONFIGURATION}
    installed.request("DELETE", path)
    try:
        with running_webhook(
            installed, tmp_path, unused_port, *flags, name="given", has_to_be_ready=False
        ) as given:

            def says_why() -> bool:
                found = given.ready()
                return found.status_code == 503 and "no MutatingWebhookConfiguration" in found.json()["why"]

            wait_until(says_why, what="/readyz says that the configuration is gone", timeout_seconds=60)
            installed.apply(kept)
            wait_until(lambda: given.ready().status_code == 200, what="ready again", timeout_seconds=120)
            assert "warning" not in given.ready().json()
    finally:
        installed.apply(kept)


@pytest.mark.parametrize(
    ("answers", "status", "said"),
    [
        ([], 503, "not looked for yet"),
        ([200], 200, ""),
        ([404], 503, "there is no MutatingWebhookConfiguration watchword-webhook"),
        # What cannot be seen changes nothing.
        ([403], 200, "answers 403; let the webhook `get` it"),
        ([200, 0], 200, "cannot be looked at"),
        ([404, 403], 503, "answers 403"),
        ([404, 0], 503, "cannot be looked at"),
        ([404, 200], 200, ""),
    ],
)
def test_only_an_answer_says_that_the_configuration_is_there_or_gone(
    answers: list[int], status: int, said: str
) -> None:
    class Client:
        async def request(self, *_: object, **__: object) -> SimpleNamespace:
            answer = answers.pop(0)
            if not answer:
                raise UnavailableError("no answer")
            return SimpleNamespace(status=answer)

    async def look() -> tuple[int, dict[str, object]]:
        check = ConfigurationCheck(Client(), CONFIGURATION)  # type: ignore[arg-type]  # as much of one as is asked
        while answers:
            await check.check()
        warm = SimpleNamespace(is_warm=True, watches=[])
        return readiness(warm, check)  # type: ignore[arg-type,return-value]  # caches that are warm

    found, document = asyncio.run(look())
    assert found == status
    assert said in str(document.get("why", document.get("warning", "")))
    assert bool(said) is (len(document) > 1)


def test_without_its_configuration_it_is_not_ready_and_with_it_again_it_is(
    installed: Cluster, webhook: RunningWebhook, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(installed.token(SYSTEM, CONFIGURATION, expiration_seconds=600))
    endpoint = Endpoint(installed.url, ca_file=str(installed.authority), token_file=str(token))
    warm = SimpleNamespace(is_warm=True, watches=[])
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
    kept = installed.request("GET", path)
    kept["metadata"] = {"name": CONFIGURATION}

    async def statuses() -> list[int]:
        async with ApiClient(Connection(endpoint)) as client:
            rotator = CertificateRotator(
                client,
                secret=NamespacedName(SYSTEM, "watchword-webhook-tls"),
                configuration=CONFIGURATION,
                names=WebhookSettings(endpoint, further_names=("localhost",)).names,
                settle_seconds=0,
            )
            await rotator.check()
            found = [readiness(warm, rotator)[0]]  # type: ignore[arg-type]  # caches that are warm
            installed.request("DELETE", path)
            with pytest.raises(Exception, match="there is no MutatingWebhookConfiguration"):
                await rotator.check()
            found.append(readiness(warm, rotator)[0])  # type: ignore[arg-type]  # as above
            installed.apply(kept)
            await rotator.check()
            return [*found, readiness(warm, rotator)[0]]  # type: ignore[arg-type]  # as above

    try:
        assert asyncio.run(statuses()) == [200, 503, 200]
    finally:
        installed.apply(kept)
