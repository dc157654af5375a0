# SPDX-License-Identifier: Apache-2.0
"""What people read, held word for word, and the exit code that scripts read."""

import json
import re

import pytest

from testing.tokens import Signer, token
from tests.cli.conftest import AT, Work
from tests.cli.golden import hold
from watchword.cli.main import COMMANDS, program_name

VERIFY = ("verify", "{work}/token", "--bundle", "{work}/bundle.json", "--at", AT)


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_the_help_of_each_command_stays_as_reviewed(work: Work, name: str) -> None:
    done = work.run(*name.split(), "--help", COLUMNS="100")
    assert done.exit_code == 0
    hold(f"help-{name or 'watchword'}", done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_each_command_teaches_with_an_example_and_exit_codes(work: Work, name: str) -> None:
    said = work.run(name, "--help").stdout
    assert "Example" in said
    assert "Exit codes:" in said


@pytest.mark.parametrize(
    ("screen", "data", "more", "code"),
    [
        ("verify-accepted", token(), (), 0),
        ("verify-granted", token(), ("--method", "GET", "--path", "/api/accounts/acme/projects"), 0),
        ("verify-not-granted", token(), ("--method", "PUT", "--path", "/api/accounts/acme/cache"), 1),
        ("verify-wrong-audience", token(aud=["billing"]), (), 1),
        ("verify-not-a-token", b"a.b", (), 1),
        ("verify-two-lines", token() + b"\n\n", (), 1),
    ],
)
def test_the_screen_of_verify_stays_as_reviewed(
    work: Work, screen: str, data: bytes, more: tuple[str, ...], code: int
) -> None:
    done = work.run("verify", "--bundle", "{work}/bundle.json", "--at", AT, *more, stdin=data)
    hold(screen, done.stdout)
    assert done.exit_code == code


def test_claims_of_a_token_with_a_strange_signature_are_never_shown(work: Work) -> None:
    strange = Signer("key-1")
    done = work.run(*VERIFY[:1], "-", *VERIFY[2:], stdin=token(strange, jti="nobody-signed-this"))
    assert "bad_signature" in done.stdout
    assert "nobody-signed-this" not in done.stdout


def test_no_screen_ever_holds_the_token(work: Work) -> None:
    signature = token().rpartition(b".")[2].decode()
    for output in ("text", "json"):
        assert signature not in work.run(*VERIFY, "-o", output).output


def test_verify_as_json_says_the_whole_table(work: Work) -> None:
    said = json.loads(work.run(*VERIFY, "-o", "json").stdout)
    assert said["allowed"] is True
    assert [check["number"] for check in said["checks"]] == list(range(1, 18))


def test_compile_gives_the_same_bytes_each_time(work: Work) -> None:
    runs = [work.run("compile", "{work}/good", "-o", "json").stdout for _ in range(2)]
    assert runs[0] == runs[1]
    assert set(json.loads(runs[0])) == {"bundles", "networkPolicies", "networkPolicyPreviews", "problems"}


def test_compile_shows_the_policy_that_a_preview_would_become_and_writes_none(work: Work) -> None:
    service = (work.path / "good/service.yaml").read_text()
    work.write("preview/service.yaml", service.rstrip() + "\n  networkPolicy: {mode: Preview}\n")
    said = work.run("compile", "{work}/preview", "--out", "{work}/out").stdout
    assert "NetworkPolicy, as a preview" in said
    assert "podSelector:" in said
    document = json.loads(work.run("compile", "{work}/preview", "-o", "json").stdout)
    assert [each["kind"] for each in document["networkPolicyPreviews"]] == ["NetworkPolicy"]
    assert document["networkPolicies"] == []
    assert [path.name for path in (work.path / "out").iterdir()] == ["tuist.tuist-server.bundle.json"]


def test_compile_writes_nothing_when_there_is_a_problem(work: Work) -> None:
    done = work.run("compile", "{work}/broken", "--out", "{work}/out")
    assert (done.exit_code, (work.path / "out").exists()) == (1, False)


def test_compile_writes_a_bundle_and_a_policy_for_each_service(work: Work) -> None:
    work.run("compile", "{work}/good", "--out", "{work}/out")
    names = sorted(path.name for path in (work.path / "out").iterdir())
    assert names == ["tuist.tuist-server.bundle.json", "tuist.tuist-server.networkpolicy.yaml"]


def test_what_pin_prints_compiles(work: Work) -> None:
    iss = "https://kubernetes.default.svc.cluster.local"
    done = work.run("pin", "--jwks", "{work}/jwks.json", "--issuer", iss, "--name", "development")
    work.write("good/issuer.json", "{}")
    (work.path / "good/issuer.json").unlink()
    work.write("good/issuer.yaml", done.stdout)
    assert work.run("verify", "{work}/token", "--manifests", "{work}/good", "--at", AT).exit_code == 0
    assert re.search(r"# thumbprint [\w-]{43} ", done.stdout)


def test_the_name_is_that_of_the_plugin_when_called_as_one() -> None:
    assert program_name("/usr/bin/kubectl-watchword") == "kubectl watchword"
