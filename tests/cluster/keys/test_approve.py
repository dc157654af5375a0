# SPDX-License-Identifier: Apache-2.0
"""`watchword approve` through a real kubectl: what is shown is what is approved, and nothing else is."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Cluster
from testing.tokens import Signer
from tests.cluster.keys.conftest import ISSUERS, Kubectl
from watchword.cli.kubectl import run_kubectl
from watchword.cli.pin import issuer_object
from watchword.identity import load_jwks
from watchword.trust.key_rotation.held_keys import HeldKey, KeyState, held_key

A, B, C = (Signer(f"key-{name}", "ES256") for name in "abc")
NewIssuer = Callable[..., str]


def held(signer: Signer, state: KeyState, age: float = 60.0) -> HeldKey:
    return held_key(signer.key, state, float(int(time.time() - age)))


def approved(cluster: Cluster, name: str) -> list[str]:
    found: list[str] = cluster.request("GET", f"{ISSUERS}/{name}")["spec"]["rotation"].get("approved", [])
    return found


def test_keys_that_wait_are_shown_and_nothing_is_approved(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    name = new_issuer([held(A, "Active"), held(B, "Pending")], policy="Approve", approveWithinSeconds=3600)
    shown = kubectl.run("approve", name)
    assert shown.exit_code == 1
    assert B.key.thumbprint in shown.stdout
    assert A.key.thumbprint not in shown.stdout
    assert "deadline" in shown.stdout
    assert "OVERDUE" not in shown.stdout
    assert approved(kinds, name) == []


def test_a_key_that_waits_too_long_is_marked(kubectl: Kubectl, new_issuer: NewIssuer) -> None:
    name = new_issuer([held(B, "Pending", age=7200)], policy="Approve", approveWithinSeconds=3600)
    assert "OVERDUE" in kubectl.run("approve", name).stdout
    (key,) = json.loads(kubectl.run("approve", name, "-o", "json").stdout)["pending"]
    assert (key["thumbprint"], key["overdue"]) == (B.key.thumbprint, True)


def test_where_nothing_waits_the_answer_is_yes(kubectl: Kubectl, new_issuer: NewIssuer) -> None:
    shown = kubectl.run("approve", new_issuer([held(A, "Active")]))
    assert (shown.exit_code, "waits for approval" in shown.stdout) == (0, True)


def test_a_named_key_is_approved_and_the_others_are_not(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    name = new_issuer([held(B, "Pending"), held(C, "Pending")], policy="Approve", approved=[A.key.thumbprint])
    done = kubectl.run("approve", name, B.key.thumbprint, "--yes")
    assert done.exit_code == 0, done.output
    assert approved(kinds, name) == [A.key.thumbprint, B.key.thumbprint]
    again = kubectl.run("approve", name, B.key.thumbprint, "--yes", "-o", "json")
    assert json.loads(again.stdout)["written"] is False


def test_all_pending_means_those_and_present_those_that_are_trusted(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    keys = [held(A, "Active"), held(B, "Retiring"), held(C, "Pending")]
    for flag, expected in (
        ("--all-pending", {C.key.thumbprint}),
        ("--present", {A.key.thumbprint, B.key.thumbprint}),
    ):
        name = new_issuer(keys)
        done = kubectl.run("approve", name, flag, "--yes", "-o", "json")
        assert json.loads(done.stdout)["written"] is True
        assert set(approved(kinds, name)) == expected


def test_a_dry_run_writes_nothing(kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer) -> None:
    name = new_issuer([held(B, "Pending")])
    done = kubectl.run("approve", name, "--all-pending", "--dry-run")
    assert done.exit_code == 0
    assert f"- {B.key.thumbprint}" in done.stdout
    assert approved(kinds, name) == []


def test_without_a_terminal_and_a_word_nothing_is_approved(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    name = new_issuer([held(B, "Pending")])
    done = kubectl.run("approve", name, "--all-pending", stdin="y\n")
    assert (done.exit_code, "--yes" in done.stderr) == (2, True)
    assert approved(kinds, name) == []


@pytest.mark.parametrize(("word", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1)])
def test_at_a_terminal_a_person_is_asked(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer, word: str, code: int
) -> None:
    name = new_issuer([held(B, "Pending")])
    ours, theirs = pty.openpty()
    command = Path(sys.executable).with_name("watchword")
    environment = {**os.environ, "KUBECONFIG": str(kubectl.kubeconfig)}
    arguments = [str(command), "approve", name, "--all-pending"]
    with subprocess.Popen(
        arguments, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        os.write(ours, word.encode())
        _, said = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert (process.returncode, "Approve this key" in said.decode()) == (code, True)
    assert approved(kinds, name) == ([B.key.thumbprint] if code == 0 else [])


def test_a_revoked_key_cannot_be_approved(kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer) -> None:
    name = new_issuer([held(B, "Pending")], revoked=[B.key.thumbprint])
    assert "No key" in kubectl.run("approve", name).stdout
    done = kubectl.run("approve", name, B.key.thumbprint, "--yes")
    assert (done.exit_code, "revoked" in done.stderr) == (2, True)
    assert approved(kinds, name) == []


def test_a_key_may_be_approved_before_it_is_served(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    name = new_issuer([held(A, "Active")])
    done = kubectl.run("approve", name, C.key.thumbprint, "--yes")
    assert (done.exit_code, "in advance" in done.stderr) == (0, True)
    assert approved(kinds, name) == [C.key.thumbprint]


def test_the_cluster_itself_can_be_asked_whose_key_it_is(
    kinds: Cluster, other_cluster: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    (real,) = load_jwks(json.dumps(other_cluster.jwks()).encode()).keys
    genuine, foreign = held_key(real, "Pending", time.time() // 1), held(B, "Pending")
    name = new_issuer([genuine, foreign])
    refused = kubectl.run("approve", name, "--all-pending", "--served-by", "there", "--yes")
    assert (refused.exit_code, B.key.thumbprint in refused.stderr) == (1, True)
    assert approved(kinds, name) == []
    done = kubectl.run("approve", name, real.thumbprint, "--served-by", "there", "--yes")
    assert done.exit_code == 0, done.output
    assert approved(kinds, name) == [real.thumbprint]


def test_what_the_cluster_serves_now_can_be_approved_before_anybody_saw_it(
    kinds: Cluster, other_cluster: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    (real,) = load_jwks(json.dumps(other_cluster.jwks()).encode()).keys
    name = new_issuer([])
    assert kubectl.run("approve", name, "--served-by", "there", "--yes").exit_code == 0
    assert approved(kinds, name) == [real.thumbprint]
    revoking = new_issuer([], revoked=[real.thumbprint])
    assert kubectl.run("approve", revoking, "--served-by", "there", "--yes").exit_code == 0
    assert approved(kinds, revoking) == []


def test_an_object_that_changed_meanwhile_is_not_approved(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_issuer([held(B, "Pending")])

    def change_then_patch(*arguments: str, **places: Any) -> bytes:
        if arguments[0] == "patch":
            kinds.request(
                "PATCH",
                f"{ISSUERS}/{name}",
                {"spec": {"issuer": "https://other.test"}},
                content_type="application/merge-patch+json",
            )
        return run_kubectl(*arguments, **places)

    monkeypatch.setattr(issuer_object, "run_kubectl", change_then_patch)
    done = kubectl.run("approve", name, "--all-pending", "--yes")
    assert (done.exit_code, "was changed while you looked" in done.stderr) == (2, True)
    assert approved(kinds, name) == []


def test_a_status_that_is_written_meanwhile_is_no_obstacle(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = new_issuer([held(B, "Pending")])
    patches = []

    def write_status_then_patch(*arguments: str, **places: Any) -> bytes:
        if arguments[0] == "patch":
            patches.append(arguments)
            if len(patches) == 1:
                status = {"status": {"observedGeneration": 1}}
                path = f"{ISSUERS}/{name}/status"
                kinds.request("PATCH", path, status, content_type="application/merge-patch+json")
        return run_kubectl(*arguments, **places)

    monkeypatch.setattr(issuer_object, "run_kubectl", write_status_then_patch)
    done = kubectl.run("approve", name, "--all-pending", "--yes")
    assert (done.exit_code, len(patches)) == (0, 2), done.output
    assert approved(kinds, name) == [B.key.thumbprint]


def test_a_full_list_drops_approvals_of_keys_that_are_gone_and_only_those(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer
) -> None:
    gone = [f"{number:042d}A" for number in range(63)]
    name = new_issuer(
        [held(A, "Active"), held(B, "Pending")], policy="Approve", approved=[A.key.thumbprint, *gone]
    )
    done = kubectl.run("approve", name, "--all-pending", "--yes")
    assert (done.exit_code, gone[0] in done.stderr) == (0, True)
    assert approved(kinds, name) == [A.key.thumbprint, *gone[1:], B.key.thumbprint]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["no-such-issuer"], "not found"),
        (["Not_A_Name"], "cannot be an issuer's name"),
        (["--all-pending"], "ISSUER"),
        (["x", "short"], "not an RFC 7638 thumbprint"),
        (["x", "A" * 42 + "B"], "not an RFC 7638 thumbprint"),
        (["x", "--context", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_ends_as_a_sentence(kubectl: Kubectl, arguments: list[str], said: str) -> None:
    done = kubectl.run("approve", *arguments)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_who_may_not_edit_is_told_by_kubectl(kubectl: Kubectl, new_issuer: NewIssuer, tmp_path: Path) -> None:
    name = new_issuer([held(B, "Pending")])
    content = json.loads(kubectl.kubeconfig.read_text())
    content["users"][0]["user"] = {"token": "nobody"}
    kubectl.kubeconfig.write_text(json.dumps(content))
    done = kubectl.run("approve", name, "--all-pending", "--yes")
    assert (done.exit_code, "kubectl get failed" in done.stderr) == (2, True)


@pytest.mark.parametrize("start", ["-", "--", "-o", "-h", "--yes", "--context"])
def test_a_thumbprint_that_begins_with_a_hyphen_is_no_option(
    kinds: Cluster, kubectl: Kubectl, new_issuer: NewIssuer, start: str
) -> None:
    name = new_issuer([held(A, "Active")])
    thumbprint = start.ljust(43, "A")
    done = kubectl.run("approve", name, thumbprint, "--yes", "--context", "here")
    assert (done.exit_code, approved(kinds, name)) == (0, [thumbprint]), done.output


def test_an_option_that_there_is_not_is_refused(kubectl: Kubectl, new_issuer: NewIssuer) -> None:
    done = kubectl.run("approve", new_issuer([held(A, "Active")]), "--present-keys", "--yes")
    assert (done.exit_code, "No such option" in done.stderr) == (2, True)
