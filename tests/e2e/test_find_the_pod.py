# SPDX-License-Identifier: Apache-2.0
"""The commands of find-the-pod-behind-a-refusal.md, typed against real gates' logs and their callers' pods.

Two gates of one service refuse calls. Only what a reader fills in is replaced: the decision's id, namespaces,
the pod's name, the address.
"""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import wait_until
from testing.environment import child_environment
from testing.node.node import find_kubectl
from testing.unavailable import needed_program
from tests.e2e.reader import ROOT, blocks_of
from tests.e2e.stage import Stage, projects

BY_ID, BY_REASON, POD, BY_ADDRESS = blocks_of(
    (ROOT / "docs/how-to/find-the-pod-behind-a-refusal.md").read_text()
)
GATE = "watchword-gate"
GATES = ("server-1", "server-2")
# A program that writes what no gate's logger does: of a crash, and a line that is JSON and no object.
CRASH = "open('/proc/1/fd/2', 'w').write('Traceback (most recent call last):\\n  MemoryError\\n42\\n')"
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reader:
    """A service with two gates, and the shell of a person who looks for its callers."""

    stage: Stage
    folder: Path
    urls: dict[str, str]

    def refused(self, name: str, gate: str, *arguments: str, **fields: Any) -> str:
        """Have a pod of this name refused by a gate; returns the decision's id, as the pod was told.

        The log has it by then: a thread of the gate's writes the line, and the runtime passes it on.
        """
        answer = self.stage.call_once(name, self.urls[gate], *arguments, **fields)
        decision_id: str = answer["decision_id"]
        logged = f'"decision_id":"{decision_id}","outcome":"refused"'
        wait_until(
            lambda: logged in self.log(gate),
            what=f"{decision_id} in the log of {gate}",
            timeout_seconds=60.0,
        )
        return decision_id

    def log(self, gate: str) -> str:
        """What one of the gates has written so far."""
        return self.stage.node.logs(self.stage.namespace, gate, GATE)

    def run(self, block: str, **filled_in: str) -> str:
        """Run a block of the page and return what it wrote; a failure of any of its commands is one."""
        for printed, here in filled_in.items():
            assert block.count(printed) == 1, (printed, block)
            block = block.replace(printed, here)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env=child_environment(
                PATH=f"{Path(find_kubectl()).parent}:{os.environ['PATH']}",
                HOME=str(self.folder),
                KUBECONFIG=str(self.stage.node.cluster.kubeconfig),
            ),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, ""), f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def entry(self, decision_id: str) -> Json:
        """The one line that the page's first command finds; more or less than one is no JSON."""
        filled_in = {"namespace tuist": f"namespace {self.stage.namespace}", "5b0f6c2e9a41-1f": decision_id}
        entry: Json = json.loads(self.run(BY_ID, **filled_in))
        return entry


@pytest.fixture
def reader(stage: Stage, tmp_path: Path) -> Reader:
    """Both gates run, called as injection calls them, and `atlas` is trusted."""
    needed_program("jq", tests="the page's commands")
    (tmp_path / "reader").mkdir()
    gate = {**stage.gate(), "name": GATE}
    urls = {name: projects(stage.start_protected_pod(name, gate=gate)) for name in GATES}
    return Reader(stage, tmp_path / "reader", urls)


def test_a_decisions_id_leads_to_the_pod_whose_token_was_refused(reader: Reader) -> None:
    namespace = reader.stage.namespace
    # The gate's own log has the first of a reason as well.
    refused = reader.refused("cart", "server-2", audience="another", account="atlas")
    reader.refused("till", "server-2", audience="another", account="atlas")
    reader.refused("stranger", "server-1")
    named = f'"decision_id":"{refused}"'
    wait_until(lambda: reader.log("server-2").count(named) == 2, what="both lines", timeout_seconds=60.0)

    entry = reader.entry(refused)

    assert (entry["outcome"], entry["reason"]) == ("refused", "wrong_audience")
    assert entry["issuer"] == "this-cluster"
    assert entry["subject"] == f"system:serviceaccount:{namespace}:atlas"
    filled_in = {"namespace shop": f"namespace {namespace}", "cart-7d4b9c6f5-x2x9p": entry["pod"]}
    header, row = reader.run(POD, **filled_in).splitlines()
    shown = dict(zip(header.split(), row.split(), strict=False))
    assert shown["NAME"] == "cart"
    assert reader.stage.node.pod(namespace, "cart")["status"]["podIP"] in row.split()


def test_a_reason_leads_to_the_pods_that_cause_it(reader: Reader) -> None:
    namespace = reader.stage.namespace
    reader.refused("cart", "server-1", audience="another", account="atlas")
    for gate in GATES:
        python = ("/usr/bin/python3.11", "-Ic", CRASH)
        reader.stage.node.execute(namespace, gate, *python, container=GATE)
    reader.refused("till", "server-2", audience="another")
    reader.refused("stranger", "server-1")
    reader.refused("unnamed", "server-2", "--anonymous")

    found = reader.run(BY_REASON, **{"namespace tuist": f"namespace {namespace}"})

    rows = [row.split() for row in found.splitlines()]
    assert rows == [
        ["1", "this-cluster", f"system:serviceaccount:{namespace}:atlas", "cart"],
        ["1", "this-cluster", f"system:serviceaccount:{namespace}:default", "till"],
    ]


def test_without_a_token_the_address_leads_to_the_pod(reader: Reader) -> None:
    namespace = reader.stage.namespace
    reader.refused("cart", "server-1", audience="another", account="atlas")
    refused = reader.refused("unnamed", "server-1", "--anonymous")

    entry = reader.entry(refused)

    assert entry["reason"] == "missing_credential"
    assert not {"issuer", "subject", "pod", "token_id"} & entry.keys()
    address, _, _ = entry["unproven"]["peer"].rpartition(":")
    rows = [row.split() for row in reader.run(BY_ADDRESS, **{"10.4.1.17": address}).splitlines()[1:]]
    # A pod that has ended keeps its address in its status, and another test's may have had the same.
    assert [row[1] for row in rows if row[0] == namespace] == ["unnamed"]
