# SPDX-License-Identifier: Apache-2.0
"""The snippets for GitHub Actions and GitLab CI: a shell runs them on a repository with a change."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cli.test_lint import FILES, WORKLOAD

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "review-trust-in-ci.md"
WIDER = WORKLOAD.replace("accounts: [acme]}", 'accounts: ["*"]}', 1)


def snippets() -> list[Any]:
    texts = re.findall(r"^```yaml\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    return [yaml.safe_load(text) for text in texts]


class Repository:
    """A clone with a branch that changes the manifests of `main`, as a runner has it."""

    def __init__(self, folder: Path) -> None:
        self.origin, self.clone = folder / "origin", folder / "clone"
        self.programs = folder / "bin"
        self.programs.mkdir()
        for name, text in {
            "pip": "#!/bin/sh\n",
            "watchword": f"#!{sys.executable}\nfrom watchword.cli.main import main\nmain()\n",
        }.items():
            (self.programs / name).write_text(text)
            (self.programs / name).chmod(0o755)
        self.git(folder, "init", "--quiet", "--initial-branch=main", str(self.origin))
        self.write(self.origin, WORKLOAD)
        self.commit(self.origin)
        self.git(folder, "clone", "--quiet", str(self.origin), str(self.clone))

    def git(self, folder: Path, *arguments: str) -> None:
        who = ("-c", "user.name=a", "-c", "user.email=a@example.com")
        subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    def write(self, folder: Path, workload: str) -> None:
        (folder / "manifests").mkdir(exist_ok=True)
        for name, text in (FILES | {"atlas.yaml": workload}).items():
            (folder / "manifests" / name).write_text(text)

    def commit(self, folder: Path) -> None:
        self.git(folder, "add", "--all")
        self.git(folder, "commit", "--quiet", "--message=change")

    def run(self, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"} | variables
        # As both services run it: each line's failure ends the job.
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=self.clone,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_the_github_job_annotates_and_summarizes(repository: Repository, tmp_path: Path) -> None:
    steps = [each["run"] for each in snippets()[0]["jobs"]["trust"]["steps"] if "run" in each]
    variables = {"GITHUB_BASE_REF": "main", "GITHUB_STEP_SUMMARY": str(tmp_path / "summary")}
    repository.write(repository.clone, WIDER)
    done = repository.run("\n".join(steps), **variables)
    assert done.returncode == 0, done.stderr
    assert "account:projects:read for accounts *" in (tmp_path / "summary").read_text()
    repository.write(repository.clone, WORKLOAD.replace("[app:read]", "[app:raed]"))
    done = repository.run(steps[1], **variables)
    assert (done.returncode, "::warning file=manifests/atlas.yaml,line=11::" in done.stdout) == (1, True)


def test_the_gitlab_job_reports_and_fails_for_what_is_wrong(repository: Repository) -> None:
    script = "\n".join(snippets()[1]["trust"]["script"])
    variables = {"CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main"}
    repository.write(repository.clone, WIDER)
    done = repository.run(script, **variables)
    assert (done.returncode, "account:projects:read for accounts *" in done.stdout) == (0, True), done.stderr
    repository.git(repository.clone, "worktree", "remove", "--force", "base")
    repository.write(repository.clone, WORKLOAD.replace("[app:read]", "[app:raed]"))
    done = repository.run(script, **variables)
    assert done.returncode == 1
    assert "unknown-scope" in (repository.clone / "trust.json").read_text()


def test_the_line_for_an_editor_names_a_schema_that_there_is() -> None:
    text = GUIDE.read_text()
    [name] = re.findall(r"\$schema=\.\./schemas/(\S+)", text)
    assert (GUIDE.parents[2] / "manifests" / "schemas" / name).exists()
