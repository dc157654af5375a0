# SPDX-License-Identifier: Apache-2.0
"""let-agents-in.md as printed: its objects are taken, and its commands give an unclaimed agent a token."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import yaml

from testing.agent_providers import PROVIDER, id_jag, key
from testing.environment import child_environment
from testing.tokens import claims_of
from testing.unavailable import needed_program
from tests.desk.test_dev import running
from tests.e2e.reader import ROOT, blocks_of
from watchword.trust import parse_manifests

PAGE = (ROOT / "docs/how-to/let-agents-in.md").read_text()


def objects() -> list[dict[str, object]]:
    """The YAML of the page."""
    return [yaml.safe_load(block.partition("```")[0]) for block in PAGE.split("```yaml\n")[1:]]


def test_the_objects_of_the_page_are_taken_as_they_are() -> None:
    found = parse_manifests([("page.yaml", yaml.safe_dump_all(objects()).encode())])
    assert found.problems == ()
    assert len(found.resources.services) == len(found.resources.desks) == 1
    assert len(found.resources.providers) == 1


def test_the_commands_of_the_page_give_an_agent_a_token(tmp_path: Path) -> None:
    for program in ("jq", "curl"):
        needed_program(program, tests="the page's commands")
    service, desk, provider = objects()
    spec = desk["spec"]
    assert isinstance(spec, dict)
    spec["issuer"] = "http://127.0.0.1:8444"
    for member in ("people", "domains", "mail"):
        del spec["agents"][member]
    of_provider = provider["spec"]
    assert isinstance(of_provider, dict)
    assert of_provider["issuer"] == PROVIDER
    of_provider["keys"] = {"inline": {"keys": [key().jwk]}}
    folder = tmp_path / "manifests"
    folder.mkdir()
    (folder / "objects.yaml").write_text("\n---\n".join(map(json.dumps, (service, desk, provider))))
    (tmp_path / "id-jag.jwt").write_text(f"{id_jag(aud='http://127.0.0.1:8444')}\n")
    start, commands, show, _ = blocks_of(PAGE)
    assert start.startswith("watchword dev manifests --desk-listen 127.0.0.1:8444")
    with running(folder) as dev:
        done = subprocess.run(
            ["bash", "-euc", (commands + show).replace("127.0.0.1:8444", dev.desk[7:])],
            env=child_environment(NO_PROXY="*"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("# auth.md\n")
    *_, minted, asked = done.stdout.replace("}{", "}\n{").splitlines()
    assert json.loads(asked)["error"] == "interaction_required"
    token = json.loads(minted)["access_token"]
    registered = json.loads((tmp_path / "agent.json").read_text())["id"]
    assert claims_of(token)["sub"] == f"agent:{registered}"
