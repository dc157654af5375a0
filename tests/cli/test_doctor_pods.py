# SPDX-License-Identifier: Apache-2.0
"""What `watchword doctor` says of pods: not given, asked in vain, audiences of others, usage apart."""

from __future__ import annotations

from typing import Any

import pytest

from testing.manifests import URL, issuer, service, workload
from tests.injection.pods import SETTINGS, app_pod, caller_pod, world
from tests.injection.test_exchange import desks, exchanging_pod
from watchword.cli.doctor_pods import (
    findings_of_audiences,
    findings_of_pod,
    findings_of_pods,
    findings_of_selected,
    findings_of_stores,
    findings_of_workload,
)
from watchword.cli.failures import UnusableInput
from watchword.injection import Injected, inject

METER = {"name": "requests", "eventType": "api.request", "aggregation": "count"}


def injected(pod: dict[str, Any], place: str = "tuist") -> dict[str, Any]:
    found = inject(pod, place, world(), SETTINGS)
    assert isinstance(found, Injected)
    found.pod["metadata"]["namespace"] = place
    return found.pod


def given_to_exchange() -> dict[str, Any]:
    found = inject(exchanging_pod(), "atlas-production", desks(), SETTINGS)
    assert isinstance(found, Injected)
    found.pod["metadata"]["namespace"] = "atlas-production"
    return found.pod


@pytest.mark.parametrize(
    ("pod", "said"),
    [
        (app_pod(), "asks for a gate and runs without one"),
        (caller_pod(), "asks for a token and has none"),
        (injected(app_pod()), ""),
        (injected(caller_pod(), "atlas-production"), ""),
        (exchanging_pod(), "asks for a token to exchange and has none"),
        (given_to_exchange(), ""),
        (app_pod(status={"phase": "Succeeded"}), ""),
    ],
)
def test_a_pod_without_what_it_asked_for_is_named(pod: dict[str, Any], said: str) -> None:
    found = list(findings_of_pod(pod))
    assert [what.startswith(f"it {said}") and serious for _, what, serious in found] == (
        [True] if said else []
    )


def test_a_token_of_an_earlier_release_is_named_with_what_to_do_and_is_no_fault() -> None:
    pod = injected(caller_pod(), "atlas-production")
    source = pod["spec"]["volumes"][-1]["projected"]["sources"][0]["serviceAccountToken"]
    source["audience"] = "tuist-server"
    [(_, what, serious)] = findings_of_pod(pod)
    assert "restart the pod before spec.audiences loses it" in what
    assert not serious


def test_a_deployment_that_asks_where_its_pods_do_not_is_named() -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "shop", "name": "on-top", "labels": {"watchword.dev/gate": "enabled"}},
        "spec": {"template": {"metadata": {"labels": {"app": "x"}}, "spec": app_pod()["spec"]}},
    }
    [(where, what, serious)] = findings_of_workload(deployment)
    assert (where, serious) == ("Deployment shop/on-top", True)
    assert "metadata.labels[watchword.dev/gate] asks" in what
    deployment["spec"]["template"]["metadata"]["labels"]["watchword.dev/gate"] = "enabled"  # type: ignore[index]
    assert list(findings_of_workload(deployment)) == []


def test_audiences_of_others_are_listed_before_the_upgrade_and_left_to_the_condition_after_it() -> None:
    made = service(audiences=[URL, "sts.amazonaws.com", "mine"])
    found = list(findings_of_audiences([issuer(), made, workload()]))
    assert [what.split(" ")[1] for _, what, _ in found] == [repr(URL), "'sts.amazonaws.com'"]
    made["status"] = {"conditions": [{"type": "AudiencesDistinct", "status": "False"}]}
    assert list(findings_of_audiences([issuer(), made])) == []


def plain(name: str, **changes: Any) -> dict[str, Any]:
    """A pod that a service selects and that asks for nothing."""
    pod = app_pod(**changes)
    pod["metadata"] |= {"name": name, "namespace": "tuist"}
    del pod["metadata"]["labels"]["watchword.dev/gate"]
    return pod


def test_pods_that_a_service_selects_and_that_have_no_gate_are_named() -> None:
    protected = service()
    pods = [plain(f"server-{number}") for number in range(5)]
    [(where, what, serious)] = findings_of_selected(pods, [protected])
    assert (where, serious) == ("ProtectedService tuist/tuist-server", True)
    assert "server-0, server-1, server-2 and 2 more" in what
    elsewhere = plain("elsewhere")
    elsewhere["metadata"]["namespace"] = "other"
    by_hand = plain("by-hand")
    by_hand["spec"]["containers"].append({"name": "gate", "args": ["sidecar", "--bundle=/b/bundle.json"]})
    from_source = plain("from-source")
    from_source["spec"]["containers"][0]["command"] = ["python3", "-m", "watchword", "sidecar"]
    by_variable = plain("by-variable")
    by_variable["spec"]["containers"].append(
        {"name": "gate", "env": [{"name": "WATCHWORD_BUNDLE", "value": "/b/bundle.json"}]}
    )
    scripted = plain("scripted")
    scripted["spec"]["containers"].append(
        {"name": "gate", "command": ["sh", "-c", "exec watchword sidecar --bundle /b/bundle.json"]}
    )
    other_labels = plain("other")
    other_labels["metadata"]["labels"] = {"app": "other"}
    fine = [
        injected(app_pod()),
        app_pod(),
        plain("ended", status={"phase": "Succeeded"}),
        elsewhere,
        by_hand,
        from_source,
        by_variable,
        scripted,
        other_labels,
    ]
    assert list(findings_of_selected(fine, [protected])) == []


@pytest.mark.parametrize(
    "container",
    [
        # Istio's proxy, Thanos' sidecar, and what only sounds like ours.
        {
            "name": "istio-proxy",
            "args": ["proxy", "sidecar", "--domain", "$(NS).svc.cluster.local"],
        },
        {"name": "thanos", "args": ["sidecar", "--tsdb.path=/prometheus", "--http-address=:10902"]},
        {"name": "watchword", "args": ["desk", "--bundle=/b/bundle.json"]},
        {"name": "x", "command": ["/bin/notwatchword", "sidecar", "--bundle=/b/bundle.json"]},
        {"name": "x", "command": ["/app"], "args": ["sidecar", "--bundle=/b/bundle.json"]},
        {"name": "x", "command": ["sh", "-c", "echo watchword sidecars"]},
    ],
    ids=lambda container: " ".join([*container.get("command", ()), *container.get("args", ())])[:40],
)
def test_another_programs_sidecar_is_no_gate(container: dict[str, Any]) -> None:
    pod = plain("server")
    pod["spec"]["containers"].append(container)
    assert [where for where, _, _ in findings_of_selected([pod], [service()])] == [
        "ProtectedService tuist/tuist-server"
    ]


def test_who_may_not_see_pods_is_told_what_the_condition_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> str:
        raise UnusableInput("pods is forbidden.", "Ask for the right.")

    monkeypatch.setattr("watchword.cli.doctor_pods.run_kubectl", refused)
    told = service()
    message = "2 pods that it selects have no gate."
    told["status"] = {
        "conditions": [
            {"type": "Gated", "status": "False", "reason": "PodsWithoutGate", "message": message},
            {"type": "AudiencesDistinct", "status": "True"},
        ]
    }
    found = list(findings_of_pods(None, [told, service()]))
    assert [(each.where, each.is_serious) for each in found] == [
        ("pods", False),
        ("ProtectedService tuist/tuist-server", True),
    ]
    assert found[1].what == f"Gated is False (PodsWithoutGate): {message}"


def test_several_pods_that_count_apart_are_told_of_unless_accepted() -> None:
    metered = service(usage={"meters": [METER]})
    pods = [injected(app_pod()) for _ in range(2)]
    [(where, what, _)] = findings_of_stores(pods, [metered])
    assert where == "ProtectedService tuist/tuist-server"
    assert what.startswith("2 of its pods")
    assert list(findings_of_stores(pods[:1], [metered])) == []
    assert list(findings_of_stores(pods, [service()])) == []
    accepted = app_pod(metadata__annotations={"watchword.dev/usage-per-replica": "accepted"})
    assert list(findings_of_stores([injected(accepted) for _ in range(2)], [metered])) == []


@pytest.mark.parametrize(
    "ended",
    [
        {"status": {"phase": "Succeeded"}},
        {"status": {"phase": "Failed", "reason": "Evicted"}},
        {"metadata__deletionTimestamp": "2026-07-01T10:00:00Z"},
    ],
)
def test_a_pod_that_has_ended_counts_no_usage_any_more(ended: dict[str, Any]) -> None:
    """Evicted pods and those of finished Jobs stay for hours: one that runs is one store."""
    metered = service(usage={"meters": [METER]})
    running, over = injected(app_pod()), injected(app_pod(**ended))
    assert list(findings_of_stores([running, over, over], [metered])) == []
    assert [what[:14] for _, what, _ in findings_of_stores([running, over, running], [metered])] == [
        "2 of its pods "
    ]
