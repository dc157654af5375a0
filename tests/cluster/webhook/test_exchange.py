# SPDX-License-Identifier: Apache-2.0
"""Pods that exchange, as a real API server stores them: a token for the desk that counts, or a refusal.

No operator runs here: a test writes the status itself, as the operator would or as a forger would like to.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from testing.controlplane import Cluster
from testing.controlplane.api import ApiError
from testing.controlplane.process import reserved_port, wait_until
from testing.manifests import token_desk
from tests.cluster.webhook.conftest import (
    CONFIGURATION,
    SYSTEM,
    configuration,
    running_webhook,
)
from tests.cluster.webhook.test_webhook import create, namespace, protect, publish
from tests.injection.pods import caller_pod

DESKS = "exchange-desks"
EXCHANGE = "watchword.dev/exchange"
_RBAC = "rbac.authorization.k8s.io"
_API = "/apis/watchword.dev/v1alpha1"


def audience(cluster: Cluster, where: str = DESKS, name: str = "desk") -> str:
    """What a token for a desk must be for, whatever its object says."""
    uid = cluster.request("GET", "/api/v1/namespaces/kube-system")["metadata"]["uid"]
    return f"watchword.dev/desks/{uid}/{where}/{name}"


def say(cluster: Cluster, said: str | None, where: str = DESKS, name: str = "desk") -> None:
    """Write the status of a TokenDesk."""
    cluster.request(
        "PATCH",
        f"{_API}/namespaces/{where}/tokendesks/{name}/status",
        {"status": {"audience": said}},
        content_type="application/merge-patch+json",
    )


def exchanging(value: str = f"{DESKS}.desk") -> dict[str, Any]:
    pod = caller_pod()
    pod["metadata"]["labels"] = {EXCHANGE: value}
    return pod


def minted(pod: dict[str, Any], volume: str = "watchword-desk-token") -> list[str]:
    [found] = [each for each in pod["spec"]["volumes"] if each["name"] == volume]
    return [each["serviceAccountToken"]["audience"] for each in found["projected"]["sources"]]


@pytest.fixture(scope="module")
def desks(installed: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """The cluster with a desk that counts, and a webhook that reads desks of that one namespace."""
    installed.create_namespace(DESKS)
    metadata = {"name": CONFIGURATION, "namespace": DESKS}
    rules = [{"apiGroups": ["watchword.dev"], "resources": ["tokendesks"], "verbs": ["list", "watch"]}]
    account = {"kind": "ServiceAccount", "name": CONFIGURATION, "namespace": SYSTEM}
    reference = {"apiGroup": _RBAC, "kind": "Role", "name": CONFIGURATION}
    role: dict[str, Any] = {"apiVersion": f"{_RBAC}/v1", "metadata": metadata}
    installed.apply(role | {"kind": "Role", "rules": rules})
    installed.apply(role | {"kind": "RoleBinding", "roleRef": reference, "subjects": [account]})
    installed.apply(token_desk("desk", DESKS, issuer="https://desk.example.com"))
    say(installed, audience(installed))
    with reserved_port() as port:
        pass
    installed.apply(configuration(port))
    try:
        folder = tmp_path_factory.mktemp("webhook")
        with running_webhook(
            installed, folder, port, "--desk-namespace", DESKS, name="with-desks"
        ) as running:
            wait_until(lambda: running.ready().status_code == 200, what="webhook ready")
            yield installed
    finally:
        path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
        installed.request("DELETE", f"{path}/{CONFIGURATION}")
        installed.request("DELETE", f"{_API}/namespaces/{DESKS}/tokendesks/desk")


def test_a_pod_that_exchanges_is_stored_with_a_token_that_is_the_desks_alone(desks: Cluster) -> None:
    where = namespace(desks, enabled=False)
    stored = create(desks, where, exchanging())
    assert minted(stored) == [audience(desks)]
    environment = {each["name"]: each["value"] for each in stored["spec"]["containers"][0]["env"]}
    assert environment["WATCHWORD_DESK"] == "https://desk.example.com"

    # What a kubelet would mount: the API server makes it, and it is for the desk and no one else.
    desks.create_service_account(where, "atlas")
    token = desks.token(where, "atlas", minted(stored), pod=stored["metadata"]["name"])
    claims = json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))
    assert claims["aud"] == [audience(desks)]
    with pytest.raises(ApiError) as refused:
        desks.request("GET", "/api/v1/namespaces", bearer=token)
    assert refused.value.status == 401


def test_a_pod_may_call_and_exchange(desks: Cluster) -> None:
    where, own = namespace(desks), namespace(desks, enabled=False)
    protect(desks, where)
    publish(desks, where)
    pod = exchanging()
    pod["metadata"]["labels"]["watchword.dev/call"] = f"{where}.tuist-server"
    stored = create(desks, own, pod)
    assert minted(stored) == [audience(desks)]
    [called] = minted(stored, "watchword-token")
    assert called.endswith(f"/{where}/tuist-server")


@pytest.mark.parametrize("said", ["", "the URL", "a service", "another's", "longer", "shouted", "absent"])
def test_a_forged_status_gets_no_token_made(desks: Cluster, said: str) -> None:
    right = audience(desks)
    forged = {
        "the URL": "https://kubernetes.default.svc",
        "a service": right.replace("/desks/", "/services/"),
        "another's": audience(desks, "elsewhere"),
        "longer": f"{right}2",
        "shouted": right.upper(),
        "absent": None,
    }
    where = namespace(desks, enabled=False)
    say(desks, forged.get(said, said))
    try:
        # Cached or looked at again: until the watch has brought it the old status may still count.
        wait_until(
            lambda: "AudienceNotPublished" in (why(desks, where, exchanging()) or ""), what="a refusal"
        )
        found = why(desks, where, exchanging())
        assert found is not None
        assert right in found
    finally:
        say(desks, right)
    wait_until(lambda: why(desks, where, exchanging()) is None, what="the desk that counts again")


def why(cluster: Cluster, where: str, pod: dict[str, Any]) -> str | None:
    """Why the API server does not store a pod; None: it does, with what it asked for."""
    try:
        stored = create(cluster, where, pod)
    except ApiError as error:
        return str(error)
    assert minted(stored) == [audience(cluster)]
    return None


def test_a_desk_elsewhere_counts_for_nothing_whatever_its_status_says(desks: Cluster) -> None:
    where = namespace(desks, enabled=False)
    desks.apply(token_desk("desk", where, issuer="https://evil.example"))
    for said in (audience(desks), audience(desks, where)):
        say(desks, said, where)
        found = why(desks, where, exchanging(f"{where}.desk"))
        assert found is not None
        assert "DeskNotFound" in found
        assert "desk.namespace" in found


def test_a_service_that_is_called_like_the_desk_is_none(desks: Cluster) -> None:
    where = namespace(desks, enabled=False)
    protect(desks, DESKS, "other")
    publish(desks, DESKS, "other", audience=audience(desks, name="other"))
    try:
        found = why(desks, where, exchanging(f"{DESKS}.other"))
        assert found is not None
        assert "DeskNotFound" in found
    finally:
        desks.request("DELETE", f"{_API}/namespaces/{DESKS}/protectedservices/other")


def test_a_desk_of_the_same_second_is_found_and_one_that_is_gone_is_not(desks: Cluster) -> None:
    where = namespace(desks, enabled=False)
    for number in range(5):
        name = f"made-{number}"
        desks.apply(token_desk(name, DESKS, issuer=f"https://{name}.example"))
        say(desks, audience(desks, name=name), name=name)
        assert minted(create(desks, where, exchanging(f"{DESKS}.{name}"))) == [audience(desks, name=name)]
        desks.request("DELETE", f"{_API}/namespaces/{DESKS}/tokendesks/{name}")
        wait_until(
            lambda name=name: "DeskNotFound" in (_refusal(desks, where, f"{DESKS}.{name}") or ""),
            what="a refusal after the desk is gone",
        )


def _refusal(cluster: Cluster, where: str, value: str) -> str | None:
    try:
        create(cluster, where, exchanging(value))
    except ApiError as error:
        return str(error)
    return None


def test_without_a_desk_namespace_no_desk_counts(
    desks: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An installation without desks: the label is answered, and with no."""
    with reserved_port() as port:
        pass
    kept = desks.request(
        "GET", f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{CONFIGURATION}"
    )
    url = kept["webhooks"][0]["clientConfig"]["url"]
    where = namespace(desks, enabled=False)
    folder = tmp_path_factory.mktemp("without")
    desks.apply(configuration(port))
    try:
        with running_webhook(desks, folder, port, name="without-desks") as other:
            wait_until(lambda: other.ready().status_code == 200, what="webhook ready")
            wait_until(
                lambda: "DeskNotFound" in (_refusal(desks, where, f"{DESKS}.desk") or ""), what="the refusal"
            )
    finally:
        desks.apply(configuration(int(url.rpartition(":")[2].partition("/")[0])))
    wait_until(lambda: why(desks, where, exchanging()) is None, what="the webhook that reads desks")
