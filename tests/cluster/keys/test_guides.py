# SPDX-License-Identifier: Apache-2.0
"""The guides on rotation and compromise, each command run as it stands: real operator, real API servers.

`tuist` is Watchword's cluster and the current context, `atlas` the one whose keys rotate, as in the pages.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Binaries, Cluster, Etcd, SigningKey, start_cluster, wait_until
from testing.manifests import service, workload
from testing.operator_process import Replica, give_back_lease, kubeconfig_of, running_operator
from tests.cluster.keys.conftest import ISSUERS
from tests.cluster.keys.contexts import write_contexts
from tests.cluster.keys.rotating import RotatingCluster
from watchword.identity import Refusal, load_jwks, verify
from watchword.trust import decode_bundle, load
from watchword.trust.crd.definitions import definitions

GUIDES = Path(__file__).parents[3] / "docs/how-to"
ISSUER = f"{ISSUERS}/atlas-production"


def commands(page: str) -> list[str]:
    """The commands of a page, one block each, in order."""
    return re.findall(r"^```sh\n(.*?)^```", (GUIDES / page).read_text(), re.MULTILINE | re.DOTALL)


@dataclass
class Place:
    """Both clusters, the operator, and a shell whose folder and contexts are those of the pages."""

    tuist: Cluster
    atlas: RotatingCluster
    operator: Replica
    folder: Path

    def run(self, block: str, *, code: int = 0, **variables: str) -> str:
        """Run a block as bash does that stops at the first failure; what it printed."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "KUBECONFIG": str(self.folder / "config"), **variables}
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == code, f"{block}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def issuer(self) -> dict[str, Any]:
        return self.tuist.request("GET", ISSUER)

    def condition(self, kind: str) -> str:
        conditions = self.issuer().get("status", {}).get("conditions", [])
        return next((each["reason"] for each in conditions if each["type"] == kind), "")

    def states(self) -> dict[str, str]:
        keys = self.issuer().get("status", {}).get("keys", [])
        return {key["thumbprint"]: key["state"] for key in keys}

    def served(self) -> list[str]:
        """The thumbprints that the cluster serves now."""
        return [key.thumbprint for key in load_jwks(json.dumps(self.atlas.cluster.jwks()).encode()).keys]

    def ask_now(self) -> None:
        """Have the operator ask the issuer at once: an edit of where and how often does."""
        seconds = self.issuer()["spec"]["keys"]["discovery"].get("intervalSeconds", 300)
        other = 300 if seconds != 300 else 301
        patch = {"spec": {"keys": {"discovery": {"intervalSeconds": other}}}}
        self.tuist.request("PATCH", ISSUER, patch, content_type="application/merge-patch+json")

    def decision(self, token: bytes) -> str:
        """What a gate says that runs the published bundle."""
        path = "/api/v1/namespaces/tuist/configmaps/watchword-bundle-tuist-server"
        bundle = self.tuist.request("GET", path)["data"]["bundle.json"].encode()
        decision = verify(token, load(decode_bundle(bundle)).policy, time.time())
        return decision.reason.code if isinstance(decision, Refusal) else "yes"

    def follow_atlas(self) -> None:
        """As the guide to rotation begins."""
        start, publish, *_ = commands("rotate-keys.md")
        self.run(start)
        self.run(publish)
        self.ask_now()
        self.until(lambda: self.condition("Ready") == "KeysTrusted", "its keys are trusted")

    def until(self, condition: Callable[[], bool], what: str) -> None:
        self.operator.wait_until(condition, what, timeout_seconds=120)


@pytest.fixture(scope="module")
def place(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folders = {name: tmp_path_factory.mktemp(name) for name in ("tuist", "atlas", "work")}
    with (
        start_cluster(folders["tuist"], etcd=etcd, binaries=control_plane) as tuist,
        start_cluster(folders["atlas"], etcd=etcd, binaries=control_plane, algorithm="ES256") as atlas,
    ):
        rotating = RotatingCluster(atlas, folders["atlas"], is_public=False)
        label = {"metadata": {"labels": {"app": "atlas"}}}
        atlas.request(
            "PATCH",
            "/api/v1/namespaces/atlas/pods/atlas-0",
            label,
            content_type="application/merge-patch+json",
        )
        atlas.apply(_deployment())
        for definition in definitions():
            tuist.apply(definition)
        tuist.create_namespace("tuist")
        give_back_lease(tuist)
        shutil.copy(atlas.authority, folders["work"] / "atlas-ca.crt")
        write_contexts(folders["work"] / "config", {"tuist": tuist, "atlas": atlas})
        kubeconfig = kubeconfig_of(tuist, folders["work"] / "operator")
        with running_operator(kubeconfig, folders["work"], "--allow-key-address", "127.0.0.0/8") as operator:
            tuist.apply(service())
            tuist.apply(workload(issuerRef={"name": "atlas-production"}, namespace="atlas"))
            yield Place(tuist, rotating, operator, folders["work"])


@pytest.fixture(autouse=True)
def no_issuer(place: Place) -> Iterator[None]:
    """Each guide begins without one."""
    yield
    for found in place.tuist.request("GET", ISSUERS)["items"]:
        place.tuist.request("DELETE", f"{ISSUERS}/{found['metadata']['name']}")
    binding = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/keys-for-everyone"
    place.atlas.cluster.request("DELETE", binding)


def _deployment() -> dict[str, Any]:
    pod = {"containers": [{"name": "app", "image": "registry.invalid/app:1"}], "serviceAccountName": "atlas"}
    labels = {"app": "atlas"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"namespace": "atlas", "name": "atlas"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def test_the_guide_to_rotation_does_what_it_says(place: Place) -> None:
    start, publish, stricter, waiting, moving = commands("rotate-keys.md")
    place.run(start)
    place.until(lambda: place.condition("KeysFresh") == "AnswerRefused", "a stranger is told so")
    place.run(publish)
    place.ask_now()
    place.until(lambda: place.condition("Ready") == "KeysTrusted", "its key is trusted")
    first = place.served()[0]
    assert place.states() == {first: "Active"}
    place.until(lambda: place.decision(place.atlas.token()) == "yes", "its workload is let in")

    assert "approved already" in place.run(stricter)
    place.until(lambda: place.issuer()["spec"]["rotation"]["policy"] == "Approve", "the policy is set")
    place.atlas.rotate(place.atlas.cluster._key, SigningKey("RS256"))
    place.ask_now()
    place.until(lambda: place.condition("RotationSettled") == "KeysPending", "the new key waits")
    (second,) = set(place.served()) - {first}
    assert place.states() == {first: "Active", second: "Pending"}

    shown = place.run(waiting)
    assert second in shown
    place.until(lambda: place.states() == {first: "Active", second: "Active"}, "it is trusted at once")

    place.run(moving)
    place.atlas.move("https://oidc.atlas.example", "https://kubernetes.default.svc.cluster.local")
    place.until(lambda: place.decision(place.atlas.token()) == "yes", "the new iss is taken")


def test_the_runbook_ends_a_compromise(place: Place) -> None:
    name, revoke, gone, trust, inline, restart, check = commands("key-compromise.md")
    place.follow_atlas()
    thief = place.atlas.token()
    place.until(lambda: place.decision(thief) == "yes", "the key is good, and so is who stole it")
    trusted = set(place.states())

    shown = place.run(name)
    assert all(thumbprint in shown for thumbprint in trusted)
    leaked = " --key ".join(sorted(trusted))
    place.run(revoke.replace('"$LEAKED"', leaked))
    place.run(gone)
    place.until(lambda: place.decision(thief) == "unknown_key", "the thief is out")

    place.atlas.rotate(SigningKey("ES256"))
    (fresh,) = place.served()
    place.run(trust)
    assert place.states() == {fresh: "Active"}
    place.run(inline)
    place.run(restart)
    place.until(lambda: place.decision(place.atlas.token()) == "yes", "callers are back")
    assert "accepted" in place.run(check).lower()
    assert place.decision(thief) == "unknown_key"


def test_a_revoked_key_stays_out_though_it_is_served_again_and_approved(place: Place) -> None:
    place.follow_atlas()
    thief = place.atlas.token()
    (leaked,) = place.served()
    place.run(f"watchword revoke atlas-production --key {leaked} --yes")
    place.until(lambda: place.decision(thief) == "unknown_key", "the thief is out")
    place.ask_now()
    place.until(lambda: place.states() == {leaked: "Pending"}, "it is in sight, and not trusted")
    refused = place.run(f"watchword approve atlas-production {leaked} --yes", code=2)
    assert "revoked" in refused
    place.run("watchword approve atlas-production --all-pending --yes")
    assert place.decision(thief) == "unknown_key"


def test_after_the_operator_is_killed_the_keys_stand_though_the_issuer_is_away(place: Place) -> None:
    place.follow_atlas()
    token = place.atlas.token()
    place.until(lambda: place.decision(token) == "yes", "its workload is let in")
    states = place.states()
    place.atlas.cluster.program.kill()
    place.operator.kill()
    kubeconfig = kubeconfig_of(place.tuist, place.folder / "operator")
    with running_operator(
        kubeconfig, place.folder, "--allow-key-address", "127.0.0.0/8", name="second"
    ) as second:
        second.wait_until(second.is_leading, "the second one leads", timeout_seconds=120)
        second.wait_until(
            lambda: place.condition("KeysFresh") == "Unreachable", "the issuer's absence is said"
        )
        assert place.states() == states
        assert place.decision(token) == "yes"
        place.atlas.cluster.program.start()
        wait_until(lambda: place.condition("KeysFresh") == "Fetched", what="it recovers", timeout_seconds=120)
        assert place.states() == states
