# SPDX-License-Identifier: Apache-2.0
"""Registrations of agents, and the people who claimed them, in the admin API and from the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.agents import ALICE, AgentDesk, agent_desk, agent_objects, agents_spec
from testing.running_desk import account_token, admin_object
from tests.cli.conftest import Work, work

__all__ = ["work"]


@pytest.fixture(scope="module")
def desk() -> Iterator[AgentDesk]:
    """A desk with agents and an admin."""
    settings = {"admin_listen": "127.0.0.1:0", "admin_calls_per_second": 0}
    with agent_desk(**settings) as running:
        running.running.change(*agent_objects(agents_spec(running.mails.port)), admin_object())
        yield running


@pytest.fixture(scope="module")
def token(desk: AgentDesk) -> str:
    found: str = desk.running.admin_token().json()["access_token"]
    return found


def pages(desk: AgentDesk, token: str, **query: str) -> Iterator[list[dict[str, Any]]]:
    cursor: str | None = ""
    while cursor is not None:
        given = query | ({"cursor": cursor} if cursor else {})
        answer = desk.running.admin("GET", "/agents", token, params=given)
        assert answer.status_code == 200, answer.text
        yield answer.json()["agents"]
        cursor = answer.json()["next_cursor"]


def test_each_registration_is_on_one_page_once_and_filters_are_whole(desk: AgentDesk, token: str) -> None:
    claimed = desk.claimed()["id"]
    waiting = {desk.anonymous()["id"] for _ in range(5)}
    found = [each for page in pages(desk, token, limit="2") for each in page]
    ids = [each["id"] for each in found]
    assert ids == sorted(set(ids))
    assert {claimed, *waiting} <= set(ids)
    assert all(len(page) <= 2 for page in pages(desk, token, limit="2"))
    [one] = [each for each in found if each["id"] == claimed]
    assert (one["state"], one["kind"]) == ("claimed", "service_auth")
    by_person = [each for page in pages(desk, token, person=one["person"]) for each in page]
    assert [each["id"] for each in by_person] == [claimed]
    anonymous = [each for page in pages(desk, token, kind="anonymous", state="unclaimed") for each in page]
    assert waiting <= {each["id"] for each in anonymous}
    assert claimed not in {each["id"] for each in anonymous}
    assert list(pages(desk, token, state="revoked", kind="anonymous")) == [[]]


def test_what_is_shown_holds_no_secret_no_digest_and_no_address(desk: AgentDesk, token: str) -> None:
    done = desk.claimed()
    shown = desk.running.admin("GET", f"/agents/{done['id']}", token)
    listed = desk.running.admin("GET", "/agents", token, params={"limit": "200"})
    for answer in (shown, listed):
        assert answer.status_code == 200
        assert "@" not in answer.text
        assert re.search(r"[0-9a-f]{64}|ww[a-z]_", answer.text) is None
        for secret in (done["claim"]["token"], done["identity"]["refresh_token"]["value"]):
            assert secret not in answer.text
    assert set(shown.json()) == {
        *("id", "kind", "state", "person", "epoch", "guesses", "made_at", "expires_at"),
    }
    assert desk.running.admin("GET", f"/agents/reg_{'0' * 32}", token).status_code == 404


def test_an_admin_ends_a_registration_with_all_that_it_holds(desk: AgentDesk, token: str) -> None:
    done = desk.claimed()
    issued = desk.good(desk.token(done["identity"]["assertion"]))["access_token"]
    desk.running.desk.is_changed.clear()
    path = f"/agents/{done['id']}/revoke"
    for _ in range(2):
        answer = desk.running.admin("POST", path, token)
        assert (answer.status_code, answer.json()["state"]) == (200, "revoked")
    assert desk.token(done["identity"]["assertion"]).json()["reason"] == "agent_ended"
    assert desk.running.introspect(issued).json() == {"active": False}
    ended = [each for each in desk.audit() if each["event"] == "agent_revoked"]
    assert [(each["by"], each["subject"]) for each in ended] == [("client:automation", f"agent:{done['id']}")]
    called = [each for each in desk.audit() if each.get("operation") == "revoke_agent"]
    assert {each["about"] for each in called} == {done["id"]}
    assert desk.running.admin("POST", path, token, content=b"{}").json()["reason"] == "malformed_request"
    assert desk.running.admin("POST", f"/agents/reg_{'0' * 32}/revoke", token).status_code == 404


def test_a_person_is_exported_and_forgotten_and_the_log_has_no_address(desk: AgentDesk, token: str) -> None:
    address = "person150@example.com"
    done, open_one = desk.claimed(address), desk.service_auth(address)
    body = {"address": address}
    export = desk.running.admin("POST", "/people/export", token, json=body)
    assert export.status_code == 200, export.text
    [person] = export.json()["people"]
    assert [each["id"] for each in person["agents"]] == [done["id"]]
    assert [each["agent"] for each in export.json()["open_claims"]] == [open_one["id"]]
    assert re.search(r"[0-9a-f]{64}", export.text) is None
    # The part before the `@` is compared byte for byte.
    assert (
        desk.running.admin("POST", "/people/export", token, json={"address": address.title()}).status_code
        == 404
    )
    forgotten = desk.running.admin("POST", "/people/forget", token, json=body)
    assert (forgotten.status_code, forgotten.json()) == (200, {"forgotten": True})
    assert desk.token(done["identity"]["assertion"]).json()["reason"] == "agent_ended"
    for operation in ("export", "forget"):
        assert desk.running.admin("POST", f"/people/{operation}", token, json=body).status_code == 404
    log = json.dumps(desk.audit())
    assert address not in log
    exported = [each for each in desk.audit() if each.get("operation") == "export_person"]
    assert person["pseudonym"] in {each.get("about") for each in exported}
    assert all("about" not in each for each in desk.audit() if each.get("operation") == "forget_person")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"address": ""},
        {"address": "alice"},
        {"address": "alice@example.com "},
        {"address": "%"},
        {"address": ["alice@example.com"]},
        {"address": ALICE, "all": True},
        {"address": "alice@example.com,bob@example.com"},
        {"address": "alice@example.com' OR '1'='1"},
    ],
    ids=str,
)
@pytest.mark.parametrize("operation", ["export", "forget"])
def test_who_is_not_one_whole_address_is_no_one(
    desk: AgentDesk, token: str, operation: str, body: dict[str, Any]
) -> None:
    answer = desk.running.admin("POST", f"/people/{operation}", token, json=body)
    assert (answer.status_code, answer.json()["reason"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "query",
    [
        "cursor=reg_0",
        "cursor=' OR 1=1",
        "cursor=reg_" + "A" * 32,
        "state=Claimed",
        "kind=ANONYMOUS",
        "person=alice@example.com",
        "address=alice@example.com",
        "limit=0",
        "limit=201",
    ],
)
def test_a_filter_with_a_slip_lists_nothing(desk: AgentDesk, token: str, query: str) -> None:
    answer = desk.running.admin("GET", f"/agents?{query}", token)
    assert (answer.status_code, answer.json()["reason"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/agents"),
        ("GET", f"/agents/reg_{'0' * 32}"),
        ("POST", f"/agents/reg_{'0' * 32}/revoke"),
        ("POST", "/people/export"),
        ("POST", "/people/forget"),
    ],
)
def test_an_agent_and_a_stranger_open_none_of_it(desk: AgentDesk, method: str, path: str) -> None:
    agent = desk.good(desk.token(desk.anonymous()["identity"]["assertion"], account="trial"))["access_token"]
    answer = desk.running.admin(
        method, path, agent, **({"json": {"address": ALICE}} if "people" in path else {})
    )
    assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_token_kind")
    stranger = desk.running.http.request(method, f"{desk.running.admin_url}/admin/v1{path}")
    assert (stranger.status_code, stranger.json()["reason"]) == (401, "missing_admin_token")


def test_the_command_line_asks_the_same_desk(desk: AgentDesk, work: Work, tmp_path: Path) -> None:
    (tmp_path / "assertion").write_text(account_token("automation", "automation"))
    running = desk.running
    flags = ("--admin-url", running.admin_url, "--desk", running.url)
    flags += ("--assertion-file", str(tmp_path / "assertion"))
    address = "person151@example.com"
    done = desk.claimed(address)
    listed = [json.loads(line) for line in work.run("desk", "agents", "list", *flags).stdout.splitlines()]
    assert {"claimed"} == {each["state"] for each in listed if each["id"] == done["id"]}
    shown = work.run("desk", "agents", "show", done["id"], *flags)
    assert json.loads(shown.stdout)["id"] == done["id"]
    exported = json.loads(work.run("desk", "agents", "export-person", address, *flags).stdout)
    assert exported["address"] == address
    assert work.run("desk", "agents", "revoke", done["id"], *flags).exit_code == 0
    assert json.loads(work.run("desk", "agents", "show", done["id"], *flags).stdout)["state"] == "revoked"
    assert work.run("desk", "agents", "forget-person", address, *flags).exit_code == 0
    for command in (("forget-person", address), ("export-person", address), ("show", "reg_none")):
        assert work.run("desk", "agents", *command, *flags).exit_code == 1
    for command in (("show", "../tokens"), ("revoke", "a/b"), ("show", "")):
        assert work.run("desk", "agents", *command, *flags).exit_code == 2
    both = work.run("desk", "agents", "list", *flags, "--store", "sqlite:////nowhere")
    neither = work.run("desk", "agents", "list")
    for each in (both, neither):
        assert (each.exit_code, "or --store alone" in each.stderr) == (2, True)
