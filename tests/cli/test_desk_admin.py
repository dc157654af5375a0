# SPDX-License-Identifier: Apache-2.0
"""`watchword desk clients|tokens|audit|explain` against a desk that runs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result

from testing.running_desk import RunningDesk, Source, account_token, running_desk
from testing.tokens import claims_of
from tests.cli.conftest import Work
from tests.desk.admin.world import objects


@pytest.fixture(scope="module")
def desk() -> Iterator[RunningDesk]:
    source = Source()
    source.objects = objects()
    with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as running:
        yield running


class Asker:
    """The command line, as the admin client `automation`."""

    def __init__(self, work: Work, desk: RunningDesk, folder: Path) -> None:
        self.work, self.desk, self.assertion = work, desk, folder / "assertion"
        self.assertion.write_text(account_token("automation", "automation") + "\n")

    def run(self, *arguments: str) -> Result:
        flags = ("--admin-url", self.desk.admin_url, "--desk", self.desk.url)
        return self.work.run("desk", *arguments, *flags, "--assertion-file", str(self.assertion))


@pytest.fixture
def ask(work: Work, desk: RunningDesk, tmp_path: Path) -> Asker:
    return Asker(work, desk, tmp_path)


def test_clients_are_listed_and_one_is_shown(ask: Asker) -> None:
    listed = ask.run("clients")
    assert listed.exit_code == 0, listed.output
    assert re.search(
        r"automation +AdminServiceAccount +yes +asked for +ServiceAccount atlas-production/", listed.stdout
    )
    shown = ask.run("clients", "automation")
    assert re.search(r"Granted by: +grace", shown.stdout)
    assert re.search(r"Is an admin: +yes", shown.stdout)
    found = json.loads(ask.run("clients", "-o", "json").stdout)
    assert [each["name"] for each in found] == ["automation", "cache", "nightly"]
    assert ask.run("clients", "nobody").exit_code == 1


def test_a_token_is_listed_shown_and_revoked_by_its_id(ask: Asker, desk: RunningDesk) -> None:
    token = desk.minted()
    jti = claims_of(token)["jti"]
    listed = ask.run("tokens", "list", "--kind", "workload", "--state", "active")
    assert jti in listed.stdout
    assert token not in listed.stdout
    revoked = ask.run("tokens", "revoke", jti)
    assert revoked.exit_code == 0, revoked.output
    assert re.search(r"state: +revoked", revoked.stdout)
    assert desk.introspect(token).json() == {"active": False}
    assert json.loads(ask.run("tokens", "show", jti, "-o", "json").stdout)["state"] == "revoked"
    assert jti not in ask.run("tokens", "list", "--state", "active").stdout


def test_the_audit_log_is_printed_with_the_newest_last(ask: Asker) -> None:
    ask.run("clients")
    lines = ask.run("audit", "--last", "3").stdout.splitlines()
    assert len(lines) == 3
    numbers = [int(line.split()[0]) for line in lines]
    assert numbers == sorted(numbers)
    assert "admin_called" in ask.run("audit", "--event", "admin_called").stdout
    assert re.fullmatch(r"\d+:[0-9a-f]{64}\n", ask.run("audit", "--head").stdout)


EXPLAIN = (
    *("explain", "--issuer", "atlas-production", "--service-account", "atlas-production/atlas"),
    *("--service", "tuist/tuist-server", "--scope", "cache:read", "--account", "acme"),
)


def test_explain_says_yes_or_which_condition_fails(ask: Asker) -> None:
    good = ask.run(*EXPLAIN, "--project", "ios")
    assert good.exit_code == 0
    assert good.stdout.endswith("It would get the token, by tuist/atlas.\n")
    bad = ask.run(*EXPLAIN, "--project", "web")
    assert bad.exit_code == 1
    assert "NO  grants cover the request" in bad.stdout
    assert "Remedy: " in bad.stdout
    assert json.loads(ask.run(*EXPLAIN, "--project", "web", "-o", "json").stdout)["allowed"] is False


def test_a_no_of_the_desk_is_told_in_its_own_words(ask: Asker) -> None:
    ask.assertion.write_text(account_token("caches", "cache"))
    done = ask.run("clients")
    assert done.exit_code == 1
    assert "client_not_allowed" in done.stderr
    assert "Remedy: " in done.stderr
    assert "Request id: " in done.stderr
    ask.assertion.write_text(account_token("elsewhere", "automation"))
    assert "invalid_client_authentication" in ask.run("clients").stderr


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "Give --assertion-file with --desk"),
        (("--assertion-file", "/nowhere"), "--desk is missing"),
        (("--assertion-file", "/nowhere", "--desk", "http://127.0.0.1:1"), "cannot be read"),
        (("--assertion-file", "/dev/null", "--desk", "http://127.0.0.1:1"), "holds no token"),
        (("--admin-token-file", "/dev/null"), "holds no token"),
        (("--admin-token-file", "x", "--assertion-file", "y"), "Give --assertion-file with --desk"),
        (("--desk", "desk.example.com", "--admin-token-file", "x"), "is no URL"),
    ],
)
def test_what_cannot_be_asked_is_said_by_its_flag(work: Work, flags: tuple[str, ...], words: str) -> None:
    done = work.run("desk", "clients", "--admin-url", "http://127.0.0.1:1", *flags)
    assert done.exit_code == 2
    assert words in done.stderr.replace("\n", " ")


def test_a_desk_that_does_not_answer_is_said(ask: Asker, work: Work, desk: RunningDesk) -> None:
    flags = ("--desk", desk.url, "--assertion-file", str(ask.assertion))
    done = work.run("desk", "clients", "--admin-url", "http://127.0.0.1:1", *flags)
    assert (done.exit_code, "does not answer" in done.stderr) == (2, True)
    # The public port is no admin API.
    done = work.run("desk", "clients", "--admin-url", desk.url, *flags)
    assert done.exit_code == 1
    assert work.run("desk", "tokens", "show", "nonsense", "--admin-url", desk.url, *flags).exit_code == 2


@pytest.mark.parametrize(
    "name", ["clients", "tokens", "tokens list", "tokens show", "tokens revoke", "audit", "explain"]
)
def test_each_command_teaches_with_an_example_and_exit_codes(work: Work, name: str) -> None:
    said = work.run("desk", *name.split(), "--help").stdout
    assert "Example" in said
    assert "Exit codes:" in said
