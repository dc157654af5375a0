# SPDX-License-Identifier: Apache-2.0
"""Every snippet of docs/how-to/call-a-service.md is run as it stands, on a server that wants the token."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from testing.unavailable import needed_program
from tests.client.answers import refusal
from tests.client.conftest import Starter
from tests.client.server import Answer, Received
from tests.client.volume import ProjectedVolume
from watchword.client import DEFAULT_TOKEN_FILE

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "call-a-service.md"
USAGE = {"account": "acme", "meters": {"remote_cache_hits": 1234}}
REFUSED = "401 expired: The token expired 12 seconds ago.\nTo do: Re-read the token file before each request."


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)


def usage(request: Received) -> Answer:
    if (request.path, request.authorization) != (
        "/api/internal/accounts/acme/usage",
        "Bearer first.token.x",
    ):
        return refusal()
    return Answer(200, {"content-type": "application/json"}, json.dumps(USAGE).encode())


def run(command: list[str], url: str, volume: ProjectedVolume) -> str:
    done = ended(command, url, volume)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def ended(command: list[str], url: str, volume: ProjectedVolume) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment = kept | {"TUIST_SERVER_URL": url, "WATCHWORD_TOKEN_FILE": str(volume.file)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


PYTHON = [(0, usage, "1234\n"), (1, usage, "1234\n"), (2, lambda request: refusal(), REFUSED)]


@pytest.mark.parametrize(("number", "answers", "printed"), PYTHON)
def test_a_python_snippet_does_what_it_says(
    number: int, answers: object, printed: str, start: Starter, volume: ProjectedVolume
) -> None:
    server = start(answers)  # type: ignore[arg-type]  # the table above holds functions of this kind
    output = run([sys.executable, "-W", "error", "-c", snippets("python")[number]], server.url, volume)
    assert output.startswith(printed)


def test_no_python_snippet_is_left_out() -> None:
    assert len(snippets("python")) == len(PYTHON)


OTHERS = [
    ("sh", ["sh"], "call.sh"),
    ("js", ["node"], "call.mjs"),
    ("go", ["go", "run"], "call.go"),
    ("java", ["java"], "Call.java"),
]
EACH_LANGUAGE = pytest.mark.parametrize(
    ("language", "command", "file"), OTHERS, ids=[row[0] for row in OTHERS]
)


def written(language: str, command: list[str], file: str, volume: ProjectedVolume) -> list[str]:
    """The command that runs the guide's snippet in a language."""
    for needed in [command[0], *(["curl"] if language == "sh" else [])]:
        needed_program(needed, tests="the guide's snippets")
    [snippet] = snippets(language)
    program = volume.directory.parent / file
    program.write_text(snippet)
    return [*command, str(program)]


@EACH_LANGUAGE
def test_a_snippet_in_another_language_does_what_it_says(
    language: str, command: list[str], file: str, start: Starter, volume: ProjectedVolume
) -> None:
    program = written(language, command, file, volume)
    assert json.loads(run(program, start(usage).url, volume)) == USAGE


@EACH_LANGUAGE
def test_a_snippet_that_is_refused_prints_reason_and_remedy_and_fails(
    language: str, command: list[str], file: str, start: Starter, volume: ProjectedVolume
) -> None:
    program = written(language, command, file, volume)
    server = start(lambda request: refusal(403, reason="suspended", remedy="Ask the owner."))
    done = ended(program, server.url, volume)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert ("suspended" in said, "Ask the owner." in said) == (True, True), said
    assert "first.token.x" not in said


@EACH_LANGUAGE
def test_a_refusal_without_a_body_and_an_apps_error_fail_too(
    language: str, command: list[str], file: str, start: Starter, volume: ProjectedVolume
) -> None:
    program = written(language, command, file, volume)
    bare = start(lambda request: Answer(403, {"x-watchword-reason": "suspended"}, b""))
    done = ended(program, bare.url, volume)
    # curl shows the body, of which there is none.
    assert (done.returncode != 0, "suspended" in done.stderr or language == "sh") == (True, True)
    failing = ended(program, start(lambda request: Answer(500)).url, volume)
    assert (failing.returncode != 0, "500" in failing.stderr) == (True, True)


def test_the_pod_mounts_its_token_where_the_sdk_looks() -> None:
    [pod] = [yaml.safe_load(text) for text in snippets("yaml")]
    [container] = pod["spec"]["containers"]
    [mount] = container["volumeMounts"]
    [volume] = pod["spec"]["volumes"]
    [source] = volume["projected"]["sources"]
    assert mount["name"] == volume["name"]
    assert f"{mount['mountPath']}/{source['serviceAccountToken']['path']}" == DEFAULT_TOKEN_FILE
    assert {"name": "WATCHWORD_TOKEN_FILE", "value": DEFAULT_TOKEN_FILE} in container["env"]
