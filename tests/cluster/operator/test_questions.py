# SPDX-License-Identifier: Apache-2.0
"""`explain`, `who-can` and `diff` against a real API server and the bundle that a real operator published."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from testing.operated import Operated
from tests.cluster.keys.contexts import write_contexts
from watchword.cli.main import watchword

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
