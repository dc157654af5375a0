# SPDX-License-Identifier: Apache-2.0
"""What listens where a desk should may send anything: each answer is bounded, checked, shown in the clear."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from testing.hostile_desk import ESCAPES, HostileDesk, dripping, dripping_headers, hanging, hostile_desk
from tests.cli.conftest import Work

TOKEN = {
    "token_id": "0" * 32,
    "kind": "admin",
    "state": "active",
    "expires_at": "2026-01-01T00:00:00Z",
    "subject": "client:carol",
    "service": None,
}
CLIENT = {
    "name": "cache",
    "type": "ResourceServer",
    "usable": True,
    "authentication": {"key_ids": ["a"]},
    "services": [],
    "admin": None,
}
AGENT = {"id": "reg_0", "kind": "a", "state": "b", "person": None, "made_at": "c", "expires_at": "d"}
ENTRY = {"entry": {"sequence": 1, "event": "x"}, "hash": "0" * 64}
LISTS: list[tuple[tuple[str, ...], str, dict[str, Any]]] = [
    (("clients",), "clients", CLIENT),
    (("tokens", "list"), "tokens", TOKEN),
    (("audit",), "entries", ENTRY),
    (("agents", "list"), "agents", AGENT),
]
EXPLAIN = ("explain", "--issuer", "a", "--service-account", "a/b", "--service", "c/d")


@pytest.fixture
def hostile() -> Iterator[HostileDesk]:
    with hostile_desk() as desk:
        yield desk


class Asker:
    """The command line with a token, at a desk."""

    def __init__(self, work: Work, desk: HostileDesk, token: Path) -> None:
        self.work, self.desk, self.token = work, desk, token
        token.write_text("a.b.c")

    def run(self, *arguments: str, **environment: str) -> Result:
        flags = ("--admin-url", self.desk.url, "--admin-token-file", str(self.token))
        return self.work.run("desk", *arguments, *flags, **environment)


@pytest.fixture
def ask(work: Work, hostile: HostileDesk, tmp_path: Path) -> Asker:
    return Asker(work, hostile, tmp_path / "token")


def words(text: str) -> str:
    """Text as it is without line ends."""
    return re.sub(r"\s+", " ", text)


def path_of(member: str) -> str:
    return "/admin/v1/" + ("audit" if member == "entries" else member)


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
def test_no_proxy_is_asked_for_what_is_on_this_machine(ask: Asker, name: str) -> None:
    ask.desk.answers["GET", "/admin/v1/clients"] = 200, {"clients": [CLIENT], "next_cursor": None}
    with hostile_desk() as proxy:
        plain = {"NO_PROXY": "", "no_proxy": "", name: proxy.url}
        done = ask.run("clients", **plain)
        assert done.exit_code == 0, done.output
        assert proxy.asked == []
        # Nor in plain text beyond it: a proxy would read the token.
        flags = ("--admin-token-file", str(ask.token), "--timeout-seconds", "5")
        ask.work.run("desk", "clients", "--admin-url", "http://desk.invalid:1", *flags, **plain)
        assert proxy.asked == []
        far = ask.work.run("desk", "clients", "--admin-url", "https://desk.invalid", *flags, **plain)
        assert far.exit_code == 2
        # TLS goes through a proxy unread.
        wanted = [("CONNECT", "desk.invalid:443", "")] if name.lower() == "all_proxy" else []
        assert proxy.asked == wanted


@pytest.mark.parametrize(("command", "member", "_item"), LISTS)
def test_an_answer_without_end_is_left_after_a_few_megabytes(
    ask: Asker, command: tuple[str, ...], member: str, _item: dict[str, Any]
) -> None:
    ask.desk.answers["GET", path_of(member)] = ask.desk.endless
    done = ask.run(*command)
    assert done.exit_code == 2
    assert "more than 4194304 bytes" in words(done.stderr)
    # What was sent beyond the bound is in buffers.
    assert ask.desk.sent < 64 * 2**20


@pytest.mark.parametrize("slow", [dripping, dripping_headers, hanging])
@pytest.mark.parametrize("command", [("clients",), ("tokens", "list"), EXPLAIN, ("agents", "show", "reg_0")])
def test_an_answer_has_one_bound_in_time_for_all_of_it(
    ask: Asker, command: tuple[str, ...], slow: Callable[[Any], None]
) -> None:
    for path in ("clients", "tokens", "agents/reg_0"):
        ask.desk.answers["GET", f"/admin/v1/{path}"] = slow
    ask.desk.answers["POST", "/admin/v1/explain"] = slow
    done = ask.run(*command, "--timeout-seconds", "1")
    assert done.exit_code == 2
    assert "has not answered whole after 1 s" in words(done.stderr)
    assert "--timeout-seconds gives more time" in words(done.stderr)


@pytest.mark.parametrize(("command", "member", "item"), LISTS)
@pytest.mark.parametrize("length", [0, 1])
def test_a_list_that_goes_round_is_left(
    ask: Asker, command: tuple[str, ...], member: str, item: dict[str, Any], length: int
) -> None:
    ask.desk.answers["GET", path_of(member)] = 200, {member: [item] * length, "next_cursor": "same"}
    done = ask.run(*command)
    assert done.exit_code == 2
    assert "leads back to a page of before" in words(done.stderr)
    assert len(ask.desk.asked) == 2


@pytest.mark.parametrize(("command", "member", "item"), LISTS)
@pytest.mark.parametrize("output", ["text", "json"])
def test_what_is_no_list_of_a_desk_is_named(
    ask: Asker, command: tuple[str, ...], member: str, item: dict[str, Any], output: str
) -> None:
    bad: list[Any] = [
        [1],
        {},
        {member: None, "next_cursor": None},
        {member: {"a": 1}, "next_cursor": None},
        {member: [1], "next_cursor": None},
        {member: [[]], "next_cursor": None},
        {member: [{}], "next_cursor": None},
        {member: [item]},
        {member: [item], "next_cursor": 5},
        {member: [item] * 300, "next_cursor": None},
        b"[" * 100_000,
        b'{"%s":' % member.encode() + b"[" * 100_000,
        b'{"next_cursor":"\\ud800"}',
        b"\xff\xfe",
        b"",
        b"<html>",
        {member: [item | {name: [1] for name in item}], "next_cursor": None},
    ]
    for document in bad:
        ask.desk.answers["GET", path_of(member)] = 200, document
        done = ask.run(*command, "-o", output)
        assert done.exit_code == 2, (document, done.exception)
        assert "does not answer as a desk does" in words(done.stderr), document
        assert "Remedy: Check the URL" in words(done.stderr)
    ask.desk.answers["GET", path_of(member)] = 200, {member: [item | {"later": 1}], "next_cursor": None}
    assert ask.run(*command, "-o", output).exit_code == 0


def is_clean(text: str) -> bool:
    return all(each.isprintable() for each in text.replace("\n", ""))


def test_no_text_of_a_desk_reaches_the_terminal_as_it_is(ask: Asker) -> None:
    for member, item in (
        ("clients", CLIENT | {"name": ESCAPES, "type": ESCAPES, "authentication": {"key_ids": [ESCAPES]}}),
        ("tokens", dict.fromkeys(TOKEN, ESCAPES)),
        ("agents", dict.fromkeys(AGENT, ESCAPES)),
        ("entries", {"entry": {"sequence": ESCAPES, "event": ESCAPES, "refusals": [{"reason": ESCAPES}]}}),
    ):
        ask.desk.answers["GET", path_of(member)] = 200, {member: [item], "next_cursor": None}
    ask.desk.answers["GET", "/admin/v1/audit/head"] = 200, {"head": f"1:{ESCAPES}"}
    ask.desk.answers["POST", "/admin/v1/explain"] = (
        200,
        {
            "allowed": False,
            "workload": ESCAPES,
            "conditions": [{"name": ESCAPES, "holds": False, "detail": ESCAPES, "remedy": ESCAPES}],
        },
    )
    ask.desk.answers["GET", "/admin/v1/clients/a"] = (
        403,
        dict.fromkeys(("error", "error_description", "reason", "remedy", "request_id"), ESCAPES + "x" * 5000),
    )
    for command in (
        *(each for each, _, _ in LISTS),
        ("agents", "list", "-o", "text"),
        EXPLAIN,
        ("audit", "--head"),
        ("clients", "a"),
    ):
        done = ask.run(*command)
        assert done.output, command
        assert is_clean(done.output), (command, done.output)
        assert len(done.output) < 12_000


def test_a_no_without_a_reason_is_told_as_what_it_is(ask: Asker) -> None:
    for document in (None, {}, [], {"error": 5, "error_description": [1], "remedy": {}}, b"<html>"):
        ask.desk.answers["GET", "/admin/v1/clients"] = 404, document
        done = ask.run("clients")
        assert done.exit_code == 2
        assert "404" in done.stderr
        assert "None" not in done.stderr


def test_agents_are_printed_as_json_or_as_a_table(ask: Asker) -> None:
    ask.desk.answers["GET", "/admin/v1/agents"] = 200, {"agents": [AGENT, AGENT], "next_cursor": None}
    lines = ask.run("agents", "list", "-o", "json").stdout.splitlines()
    assert [json.loads(each) for each in lines] == [AGENT, AGENT]
    assert ask.run("agents", "list").stdout.splitlines() == lines
    table = ask.run("agents", "list", "-o", "text").stdout.splitlines()
    assert len(table) == 3
    assert table[0].split() == ["ID", "KIND", "STATE", "MADE", "AT", "EXPIRES", "AT", "PERSON"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:1?x", "has more than a path"),
        ("http://127.0.0.1:1#x", "has more than a path"),
        ("https://me:hunter2@127.0.0.1:1", "holds a user name or a password"),
        ("https://hunter2@127.0.0.1:1", "holds a user name or a password"),
        ("http://", "is no URL"),
        ("http://127.0.0.1:99999", "is no URL"),
        ("http://[::1", "is no URL"),
        ("http://127.0.0.1:1/\x1b[31m", "is no URL"),
        ("http://127.0.0.1:1/a b", "is no URL"),
    ],
)
def test_a_url_that_says_more_than_where_is_not_asked_and_not_repeated(
    work: Work, tmp_path: Path, url: str, said: str
) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path)}
    for command in (("clients",), ("sign-out",), ("sign-in", "--no-browser")):
        done = work.run("desk", *command, "--admin-url", url, **state)
        assert done.exit_code == 2
        wanted = said if command[0] != "sign-in" else f"({said}|neither https:// nor on this machine)"
        assert re.search(wanted, words(done.stderr)), done.stderr
        assert "hunter2" not in done.output
        assert is_clean(done.output)
    done = work.run("desk", "clients", "--admin-url", "http://127.0.0.1:1", "--desk", url, **state)
    assert (done.exit_code, "--desk" in done.stderr, "hunter2" in done.output) == (2, True, False)


def test_a_ca_file_without_a_certificate_is_said(ask: Asker) -> None:
    done = ask.run("clients", "--ca-file", str(ask.token))
    assert (done.exit_code, "holds no certificate" in words(done.stderr)) == (2, True)
