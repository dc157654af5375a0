# SPDX-License-Identifier: Apache-2.0
"""Calls between real pods, with the tokens that the kubelet projects: trusted in, strangers out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.stage import APP_PORT, OPS_PORT, Stage, projects

PYTHON = "/usr/bin/python3.11"


def test_a_trusted_pod_gets_through_and_the_app_learns_who_calls(stage: Stage) -> None:
    address = stage.start_protected_pod()

    called = stage.call_once("atlas", projects(address), account="atlas")

    assert called["outcome"] == "ok"
    answer = called["answer"]
    assert answer["identity"]["x-watchword-subject"] == f"system:serviceaccount:{stage.namespace}:atlas"
    assert answer["identity"]["x-watchword-workload"] == f"{stage.namespace}/atlas"
    assert answer["sees_credential"] is False


@pytest.mark.parametrize(
    ("caller", "reason"),
    [
        pytest.param({"account": "default"}, "unknown_workload", id="another ServiceAccount"),
        pytest.param(
            {"account": "atlas", "audience": "another-service"}, "wrong_audience", id="a token for another"
        ),
        pytest.param({"account": "atlas", "arguments": ["--anonymous"]}, "missing_credential", id="no token"),
        pytest.param(
            {
                "account": "atlas",
                "arguments": ["--token-file=/var/run/secrets/kubernetes.io/serviceaccount/token"],
                "automountServiceAccountToken": True,
            },
            "wrong_audience",
            id="the pod's token for the API server",
        ),
    ],
)
def test_a_stranger_is_refused_with_the_reason(stage: Stage, caller: dict[str, Any], reason: str) -> None:
    address = stage.start_protected_pod()

    called = stage.call_once("stranger", projects(address), *caller.pop("arguments", []), **caller)

    assert called["outcome"] == reason


def test_the_apps_port_is_reached_from_inside_its_pod_alone(stage: Stage) -> None:
    address = stage.start_protected_pod()
    url = projects("127.0.0.1", APP_PORT)
    program = f"import urllib.request; print(urllib.request.urlopen({url!r}).status)"

    inside = stage.node.execute(stage.namespace, "server", PYTHON, "-Ic", program, container="app")
    outside = stage.call_once("atlas", projects(address, APP_PORT), account="atlas")

    assert inside.strip() == "200"
    assert outside["outcome"] == "ConnectError"


def test_a_probe_gets_through_to_the_ops_port_and_finds_the_gate_ready(stage: Stage) -> None:
    address = stage.start_protected_pod()

    assert stage.call_once("prober", f"http://{address}:{OPS_PORT}/readyz", "--anonymous")["outcome"] == "ok"


def test_the_gate_runs_as_nobody_on_a_root_that_it_cannot_write_to(stage: Stage) -> None:
    stage.start_protected_pod()
    program = """
import os, pathlib
def writes(path):
    try: pathlib.Path(path).touch(); return True
    except OSError: return False
status = dict(line.split(":\\t", 1) for line in open("/proc/1/status") if ":\\t" in line)
print(os.getuid(), writes("/here"), writes("/tmp/here"))
print(*(status[name].strip() for name in ("CapEff", "NoNewPrivs", "Seccomp")))
"""

    said = stage.node.execute(stage.namespace, "server", PYTHON, "-Ic", program, container="gate")

    assert said.split() == ["10001", "False", "False", "0" * 16, "1", "2"]
