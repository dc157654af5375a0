# SPDX-License-Identifier: Apache-2.0
"""What is taken from gates' answers, and what is not: they may be of another version, cut, or no gate's."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from watchword.cli.failures import UnusableInput
from watchword.console.gates import MAX_GATES, MAX_METRICS_BYTES, decisions_of, read_gates, refusals_of

METRICS = b"""# HELP watchword_decisions_total Decisions
# TYPE watchword_decisions_total counter
watchword_decisions_total{service="tuist/api",reason="allowed"} 12.0
watchword_decisions_total{service="tuist/api",reason="expired"} 3.0
watchword_decisions_total{service="",reason="expired"} 2.0
watchword_decisions_total{service="tuist/api",reason="revoked"} 0.0
"""


def test_decisions_are_summed_by_reason() -> None:
    assert decisions_of(METRICS) == {"allowed": 12, "expired": 5}


@pytest.mark.parametrize("data", [b"", b"up 1\n", b"<html>", b"\xff\xfe", b"x" * (MAX_METRICS_BYTES + 1)])
def test_what_is_no_gates_metrics_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        decisions_of(data)


def test_only_refusals_are_taken_from_a_log_and_nothing_unproven_of_them() -> None:
    entry = {
        "time": 1800000000.25,
        "outcome": "refused",
        "reason": "suspended",
        "subject": "system:serviceaccount:shop:cart",
        "issuer": "production",
        "unproven": {"peer": "10.4.1.17:1", "path": "/secret-path"},
    }
    lines = [
        json.dumps(entry),
        json.dumps({**entry, "outcome": "allowed"}),
        json.dumps({**entry, "time": "now"}),
        json.dumps({**entry, "reason": 5, "subject": ["x"], "issuer": None}),
        json.dumps(entry)[:40],
        "not json",
        "[1]",
        "",
    ]
    found = list(refusals_of("\n".join(lines).encode() + b"\xff\n"))
    assert [(each.reason, each.caller) for each in found] == [("suspended", entry["subject"]), ("", "")]
    assert "secret-path" not in repr(found)
    assert "10.4.1.17" not in repr(found)


def pods(number: int, **more: object) -> bytes:
    items = [
        {
            "metadata": {"name": f"api-{place}"},
            "spec": {"containers": [{"name": "watchword-gate", "args": ["--ops-listen=[::]:9191"]}]},
            "status": {"phase": "Running"},
            **more,
        }
        for place in range(number)
    ]
    return json.dumps({"items": items}).encode()


def answering(listed: bytes, asked: list[str]) -> Callable[[str], bytes]:
    def get(path: str) -> bytes:
        asked.append(path)
        if "labelSelector" in path:
            return listed
        return METRICS if path.endswith("/metrics") else b""

    return get


def test_of_many_gates_a_fixed_number_is_asked_and_the_rest_is_told() -> None:
    asked: list[str] = []
    gates = read_gates(answering(pods(50), asked), "tuist", {"app": "api"})
    assert len(asked) == 1 + 2 * MAX_GATES
    assert (len(gates.readings), gates.unasked, gates.gaps) == (MAX_GATES, 50 - MAX_GATES, ())
    assert "/api/v1/namespaces/tuist/pods/api-0:9191/proxy/metrics" in asked


def test_names_and_labels_of_pods_never_become_another_path() -> None:
    asked: list[str] = []
    hostile = json.dumps(
        {
            "items": [
                {"metadata": {"name": "../../secrets"}, "spec": {"containers": [{"name": "watchword-gate"}]}}
            ]
        }
    ).encode()
    gates = read_gates(answering(hostile, asked), "tuist", {"app": "a&b=c/../x"})
    assert gates.readings == ()
    assert asked == ["/api/v1/namespaces/tuist/pods?labelSelector=app%3Da%26b%3Dc%2F..%2Fx"]


def test_pods_without_a_gate_are_told_and_pods_that_ended_are_left_out() -> None:
    bare = json.dumps({"items": [{"metadata": {"name": "api-0"}, "spec": {"containers": [{"name": "app"}]}}]})
    gates = read_gates(answering(bare.encode(), []), "tuist", {"app": "api"})
    assert [each.why for each in gates.gaps] == ["none of its 1 pods has a gate in it"]
    ended = read_gates(answering(pods(2, status={"phase": "Succeeded"}), []), "tuist", {"app": "api"})
    assert ended.readings == ()


def test_one_gap_is_told_once_however_many_gates_have_it() -> None:
    def get(path: str) -> bytes:
        if "labelSelector" in path:
            return pods(3)
        raise UnusableInput("kubectl get failed: Error from server (Forbidden): no", "ask")

    gates = read_gates(get, "tuist", {"app": "api"})
    assert all(each.decisions is None and each.refused is None for each in gates.readings)
    assert sorted(each.remedy for each in gates.gaps) == [
        "It needs the verb get on pods/log in the namespace tuist.",
        "It needs the verb get on pods/proxy in the namespace tuist.",
    ]


def test_another_programs_sidecar_is_no_gate() -> None:
    asked: list[str] = []
    istio = {"name": "istio-proxy", "args": ["proxy", "sidecar", "--domain", "tuist.svc.cluster.local"]}
    thanos = {"name": "thanos", "args": ["sidecar", "--prometheus.url=http://localhost:9090"]}
    flags = ["sidecar", "--bundle=/b", "--ops-listen=:9292"]
    plain = {"name": "own", "command": ["watchword"], "args": flags}
    items = [{"metadata": {"name": "api-0"}, "spec": {"containers": [istio, thanos, plain]}}]
    gates = read_gates(answering(json.dumps({"items": items}).encode(), asked), "tuist", {"app": "api"})
    assert [each.gate for each in gates.readings] == ["api-0"]
    assert "/api/v1/namespaces/tuist/pods/api-0:9292/proxy/metrics" in asked
    assert not any("istio-proxy" in each or "container=thanos" in each for each in asked)
