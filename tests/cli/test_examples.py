# SPDX-License-Identifier: Apache-2.0
"""The examples of `--help`, README and docs are commands that there are; what needs no cluster is run."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from cryptography.hazmat.primitives import serialization

from testing.tokens import signer
from tests.cli.conftest import Work
from watchword.cli.main import COMMANDS, watchword
from watchword.cli.pin_pem import jwks_of_pem

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *ROOT.glob("docs/**/*.md")])
FENCE = re.compile(r"^ *```(?:sh|console|bash)\n(.*?)^ *```", re.DOTALL | re.MULTILINE)
# What no test of this file runs, and where it is run instead.
ELSEWHERE = {
    "sidecar": "a process that stays: testing/gate_process.py starts it",
    "operator": "a process that stays: tests/cluster/operator",
    "webhook": "a process that stays: tests/cluster/webhook",
    "dev": "a process that stays: tests/cli/test_processes.py",
    "desk": "a process that stays: tests/desk",
    "console": "a process that stays: tests/console/test_command.py",
    "report": "reads the audit log of a gate: tests/cli/test_report_only.py",
    "audit": "reads the log of a desk: tests/desk",
    "drain": "for a gate in its container: tests/gate/test_draining.py",
    "approve": "asks a cluster: tests/cluster/keys/test_approve.py",
    "revoke": "asks a cluster: tests/cluster/keys/test_revoke.py",
    "token": "asks a cluster: tests/cluster/test_gate_real_tokens.py",
    "explain": "asks a cluster: tests/cluster/operator/test_questions.py",
    "doctor": "asks a cluster: tests/cluster/test_doctor_grants.py",
    "uninstall": "asks a cluster: tests/cluster",
}
CLUSTER = (
    "--context",
    "pin https:",
    "watchword diff DIR",
    "watchword who-can project",
    "who-can account:cache:write",
    "--gate https:",  # a gate's: tests/usage/test_bill_a_month.py
)


def split(text: str) -> Iterator[list[str]]:
    """The commands of ours in a piece of shell, each as its words."""
    text = re.sub(r"\\\n\s*", " ", text)
    text = re.sub(r"\|\n\s*", "| ", text)
    for shown in text.splitlines():
        line = re.sub(r"^\s*(\$ )?", "", shown)
        for part in re.split(r"\s*(?:\||&&|;)\s*", line):
            found = re.search(r"(?:^|\$\(|<\()\s*(?:\S*/)?((?:kubectl[ -])?watchword [^<>)]*)", part)
            if found is not None and not part.lstrip().startswith("#"):
                try:
                    words = shlex.split(found[1], comments=True)
                except ValueError:
                    continue
                yield words[2:] if words[0] == "kubectl" else words[1:]


def helped() -> Iterator[tuple[str, list[str]]]:
    with click.Context(watchword, info_name="watchword") as context:
        for name in COMMANDS:
            command = watchword.get_command(context, name)
            assert command is not None
            group = command if isinstance(command, click.Group) else None
            each = (
                [command]
                if group is None
                else [group.get_command(context, sub) for sub in group.list_commands(context)]
            )
            for one in each:
                assert one is not None
                text = inspect.cleandoc(one.help or "").partition("\b\nExample")[2].partition("\n\n")[0]
                yield from ((name, words) for words in split(text))


HELP = list(helped())
DOCS = [(page, words) for page in PAGES for text in FENCE.findall(page.read_text()) for words in split(text)]


@pytest.fixture
def shell(work: Work, monkeypatch: pytest.MonkeyPatch) -> Work:
    """A folder with every file that an example names."""
    shutil.copytree(ROOT / "manifests", work.path / "manifests")
    shutil.copytree(work.path / "good", work.path / "DIR")
    pem = (
        signer("there")
        .private.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    work.write("there.pem", pem)
    work.write("here.json", json.dumps({"keys": [signer().jwk]}))
    work.write("keys.json", json.dumps({"keys": [signer().jwk]}))
    work.write("token.txt", (work.path / "token").read_bytes())
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "a"}]},
    }
    work.write("deployment.yaml", json.dumps(pod))
    work.write("events.ndjson", "")
    assert jwks_of_pem(pem, "there.pem")
    monkeypatch.chdir(work.path)
    return work


def flaw(words: list[str]) -> str:
    """Why a command of an example cannot be; empty: it is one. Files and placeholders are not looked at."""
    name, *arguments = words
    with click.Context(watchword, info_name="watchword") as context:
        command: click.Command | None = watchword.get_command(context, name)
        while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
            found = command.get_command(context, arguments[0])
            # `watchword token NAMESPACE/NAME`: its first command may be left away.
            command = command.get_command(context, "request") if found is None and name == "token" else found
            del arguments[0]
        if command is None:
            return f"there is no command {name}"
        options = {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        options |= {"-h", "--help"}
    wrong = [
        each
        for each in arguments
        if each.startswith("-") and each != "-" and each.partition("=")[0] not in options
    ]
    return f"{name} has no option {wrong[0]}" if wrong else ""


@pytest.mark.parametrize(("name", "words"), HELP, ids=[" ".join(words)[:80] for _, words in HELP])
def test_an_example_of_help_is_a_command_and_runs_where_it_can(
    shell: Work, name: str, words: list[str]
) -> None:
    assert flaw(words) == ""
    line = " ".join(["watchword", *words])
    if (
        name in ELSEWHERE
        or any(each in line for each in CLUSTER)
        or "postgresql:" in line
        or "REGISTRY" in line
    ):
        return
    words = [
        each.replace("/var/lib/watchword", str(shell.path)).replace("/etc/kubernetes/pki/sa.pub", "there.pem")
        for each in words
    ]
    if name == "usage":
        shell.run("usage", "import", "events.ndjson", "--usage-dsn", words[words.index("--usage-dsn") + 1])
    done = (
        shell.run(*words, "--at", "2027-01-15T08:00:00Z")
        if name in ("verify", "who-can")
        else shell.run(*words)
    )
    # 1 is an answer: two folders differ, an account has no events, a workload is not trusted.
    assert done.exit_code in ((0, 1) if name in ("diff", "usage", "verify") else (0,)), done.output
    assert "unforeseen" not in done.output


def test_each_command_that_is_not_run_here_is_one() -> None:
    assert set(ELSEWHERE) <= set(COMMANDS)
    assert {name for name, _ in HELP} | {"drain", "usage"} >= set(COMMANDS) - {"completion"}


@pytest.mark.parametrize(
    ("page", "words"), DOCS, ids=[f"{page.stem}: {' '.join(words)[:60]}" for page, words in DOCS]
)
def test_a_command_in_the_docs_is_one_that_there_is(page: Path, words: list[str]) -> None:
    assert flaw(words) == "", page
