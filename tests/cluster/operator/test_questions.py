# SPDX-License-Identifier: Apache-2.0
"""`explain`, `who-can` and `diff` against a real API server and the bundle that a real operator published."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner, Result

from testing.operated import Operated
from tests.cluster.keys.contexts import write_contexts
from watchword.cli.applied import objects_after
from watchword.cli.live import live_objects
from watchword.cli.main import watchword
from watchword.trust.api.v1alpha1 import WorkloadSpec

ROUTES = [{"path": "/projects/{account}", "methods": ["GET"], "scope": "projects:read"}]
GRANTS = [{"scopes": ["projects:read"], "accounts": ["acme"]}]


class Asker:
    """The command line of a person with a kubeconfig, on a service that one workload may call."""

    def __init__(self, operated: Operated, folder: Path) -> None:
        self.operated, self.folder = operated, folder
        write_contexts(folder / "kubeconfig", {"here": operated.cluster})
        self.namespace = operated.new_namespace()
        operated.account(self.namespace)
        self.service = operated.service(self.namespace, routes=ROUTES)
        self.workload = operated.workload(self.namespace, grants=GRANTS)
        operated.apply(self.service)
        operated.apply(self.workload)
        operated.wait_for(self.workload, "Ready/Trusted")

    @property
    def name(self) -> str:
        return f"{self.namespace}/api"

    def run(self, *arguments: str, stdin: str | None = None) -> Result:
        environment = {"KUBECONFIG": str(self.folder / "kubeconfig")}
        return CliRunner().invoke(watchword, list(arguments), env=environment, input=stdin)

    def write(self, *objects: dict[str, object]) -> str:
        """A folder of manifests."""
        (self.folder / "manifests").mkdir(exist_ok=True)
        (self.folder / "manifests" / "all.yaml").write_text(yaml.safe_dump_all(objects))
        return str(self.folder / "manifests")


@pytest.fixture
def asker(operated: Operated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Asker:
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    return Asker(operated, tmp_path)


def test_explain_judges_a_real_token_by_the_bundle_that_gates_read(asker: Asker) -> None:
    token = asker.operated.token(asker.namespace)
    ask = ("explain", "--service", asker.name, "--method", "GET", "--path")
    allowed = asker.run(*ask, "/projects/acme", stdin=token)
    assert (allowed.exit_code, f"Accepted as {asker.namespace}/atlas" in allowed.stdout) == (0, True)
    refused = asker.run(*ask, "/projects/globex", stdin=token)
    assert (refused.exit_code, "account_not_granted" in refused.stdout) == (1, True)
    asker.operated.edit(asker.workload, suspend=True)
    asker.operated.wait_for(asker.workload, "Ready/Suspended")
    assert "Refused: suspended" in asker.run(*ask, "/projects/acme", stdin=token).stdout


def test_who_can_names_who_the_published_bundle_lets_in(asker: Asker) -> None:
    one = asker.run("who-can", "projects:read", "acme", "--service", asker.name, "-o", "json")
    [answer] = json.loads(one.stdout)["answers"]
    assert [each["workload"] for each in answer["can"]] == [f"{asker.namespace}/atlas"]
    assert asker.run("who-can", "projects:read", "globex", "--service", asker.name).exit_code == 1
    of_all = asker.run("who-can", "projects:read", "-n", asker.namespace)
    assert (
        of_all.exit_code,
        of_all.stdout == asker.run("who-can", "projects:read", "--service", asker.name).stdout,
    ) == (0, True)


def test_diff_says_what_an_apply_would_change_and_the_apply_does(asker: Asker) -> None:
    workload = json.loads(json.dumps(asker.workload))
    assert asker.run("diff", asker.write(workload)).exit_code == 0
    workload["spec"]["grants"][0]["accounts"] = ["acme", "globex"]
    folder = asker.write(workload)
    said = asker.run("diff", folder)
    who = f"ServiceAccount {asker.namespace}/atlas of {asker.operated.issuer}"
    assert said.exit_code == 1
    assert [line.strip() for line in said.stdout.splitlines() if "globex" in line] == [
        f"+ {who}: projects:read for accounts globex"
    ]
    assert len([line for line in said.stdout.splitlines() if line.startswith("  ")]) == 1
    asker.operated.apply(workload)
    assert asker.run("diff", folder).exit_code == 0
    # Without --prune, what the folder does not hold stays; with it, it would be gone.
    pruned = asker.run("diff", folder, "--prune", "-o", "json")
    lost = {each["where"] for each in json.loads(pruned.stdout)["changes"] if each["kind"] == "loses"}
    assert {asker.name, f"ClusterTrustedIssuer {asker.operated.issuer}"} <= lost


def test_a_service_that_is_not_there_gets_those_that_are(asker: Asker) -> None:
    done = asker.run("explain", "--service", f"{asker.namespace}/apy", stdin="x")
    assert done.exit_code == 2
    assert f"The cluster has no bundle for {asker.namespace}/apy" in done.stderr
    assert asker.name in done.stderr


@pytest.mark.parametrize("flags", [(), ("--server-side", "--force-conflicts")])
def test_diff_takes_objects_for_what_kubectl_makes_of_them(
    asker: Asker, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...]
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(asker.folder / "kubeconfig"))
    name = f"{asker.namespace}-labels"

    def kubectl(*arguments: str) -> None:
        subprocess.run(["kubectl", *arguments], check=True, capture_output=True)

    def namespace(**metadata: object) -> dict[str, object]:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, **metadata}}

    trusted = json.loads(json.dumps(asker.workload))
    trusted["metadata"]["name"] = "merged"
    trusted["spec"]["serviceAccount"]["name"] = "other"
    expiring = json.loads(json.dumps(trusted))
    expiring["spec"]["expires"] = "2099-01-01T00:00:00Z"
    narrowed = json.loads(json.dumps(trusted))
    narrowed["spec"] |= {"grants": [], "suspend": False}
    for written in (
        [namespace(labels={"a": "1", "b": "1"}), expiring],
        [namespace(labels={"a": "2"}), trusted],
        [namespace(labels={}), narrowed],
        [namespace(labels={"c": "1"}), trusted],
        [namespace(), trusted],
    ):
        folder = asker.write(*written)
        files = [("all.yaml", each) for each in written]
        expected = objects_after(live_objects(None), files, time.time(), prune=False)
        kubectl("apply", f"--filename={folder}", *flags)
        assert _decided(live_objects(None)) == _decided([each for _, each in expected])
        # By hand, as people do.
        kubectl("label", "--overwrite", f"namespace/{name}", "by-hand=y")
        patch = ("--type=merge", '--patch={"spec": {"suspend": true}}')
        kubectl("patch", "trustedworkload/merged", f"--namespace={asker.namespace}", *patch)


def _decided(objects: list[dict[str, Any]]) -> dict[tuple[str, ...], object]:
    """What decides of objects, by who they are; the label that the API server itself sets is left out."""
    found = {}
    for each in objects:
        labels = dict(each["metadata"].get("labels") or {})
        labels.pop("kubernetes.io/metadata.name", None)
        key = (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"])
        is_ours = each["kind"] == "TrustedWorkload"
        # As a type: the API server writes defaults out.
        found[key] = (labels, msgspec.convert(each["spec"], WorkloadSpec) if is_ours else None)
    return found
