# SPDX-License-Identifier: Apache-2.0
"""Signing in where a desk, a provider or another program is not what it should be; and what is kept of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from testing.hostile_desk import (
    ESCAPES,
    HostileDesk,
    dripping,
    dripping_headers,
    hanging,
    hostile_desk,
)
from testing.openid import CAROL, Issuer, openid_issuer
from testing.running_desk import person_object
from testing.tokens import b64, compact
from tests.cli.conftest import Work
from tests.cli.sign_in_run import Terminal, World, as_person, kept, started
from tests.cli.test_desk_hostile import is_clean, words
from tests.desk.admin.world import objects
from watchword.cli.desk.session import path_of

DANA = "dana@corp.example"
SIGN_IN = "/admin/v1/sign-in"


@pytest.fixture(scope="module")
def idp() -> Iterator[Issuer]:
    with openid_issuer() as issuer:
        issuer.people["dana"] = DANA
        yield issuer


@pytest.fixture(scope="module")
def world(idp: Issuer) -> Iterator[World]:
    people = (person_object("carol", idp.url, CAROL), person_object("dana", idp.url, DANA))
    with started(*people) as desk:
        yield World(desk, idp.url)


@pytest.fixture
def hostile(idp: Issuer) -> Iterator[HostileDesk]:
    with hostile_desk() as desk:
        desk.answers["GET", SIGN_IN] = begun(idp.url)
        yield desk


def begun(*issuers: str, **changes: Any) -> tuple[int, Any]:
    providers = [{"issuer": each, "client_id": "watchword-cli"} for each in issuers]
    return 200, {"issuer": "https://desk.example.com", "providers": providers, "ticket": "a.b.c"} | changes


def issued(kind: str = "Bearer", /, **changes: Any) -> tuple[int, Any]:
    """A desk's answer with an admin token that says this."""
    now = int(time.time())
    said = {"sub": "client:carol", "jti": "0" * 32, "iat": now, "exp": now + 600} | changes
    said.setdefault("watchword", {"kind": "admin"})
    token = f"{b64(compact({'alg': 'ES256', 'kid': 'a'}))}.{b64(compact(said))}.c2ln"
    return 200, {"access_token": token, "token_type": kind, "expires_in": 600}


def sign_in(run: Terminal, sub: str = "carol") -> str:
    """Sign in by a run of the command; what it says."""
    assert httpx.get(as_person(run.url, sub), trust_env=False).status_code == 200
    code, said = run.ends()
    assert code == 0, said
    return said


def token_in(home: Path) -> str:
    [file] = (home / ".local/state/watchword/desk").iterdir()
    found: str = json.loads(file.read_bytes())["access_token"]
    return found


def test_no_proxy_sees_a_sign_in(world: World, terminal: Callable[..., Terminal], work: Work) -> None:
    with hostile_desk() as proxy:
        names = ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
        run = terminal("--admin-url", world.desk.admin_url, **dict.fromkeys(names, proxy.url))
        sign_in(run)
        assert proxy.asked == []


@pytest.mark.parametrize("slow", [dripping, dripping_headers, hanging])
def test_a_desk_and_a_provider_have_one_bound_in_time(
    hostile: HostileDesk, terminal: Callable[..., Terminal], slow: Callable[[Any], None]
) -> None:
    short = ("--timeout-seconds", "1", "--admin-url", hostile.url)
    with hostile_desk() as provider:
        provider.answers["GET", "/.well-known/openid-configuration"] = slow
        hostile.answers["GET", SIGN_IN] = begun(provider.url)
        code, said = terminal(*short).ends()
        assert (code, "within 1 s: it has not answered whole" in said) == (2, True), said
        names = ("authorization_endpoint", "token_endpoint", "jwks_uri")
        document = {"issuer": provider.url} | {name: f"{provider.url}/{name}" for name in names}
        provider.answers["GET", "/.well-known/openid-configuration"] = 200, document
        provider.answers["POST", "/token_endpoint"] = slow
        run = terminal(*short)
        assert run.ask(f"/callback?code=c&state={run.query['state']}") == 200
        code, said = run.ends()
        assert (code, "within 1 s: it has not answered whole" in said) == (2, True), said
    hostile.answers["GET", SIGN_IN] = slow
    code, said = terminal(*short).ends()
    assert (code, "has not answered whole after 1 s" in said) == (2, True), said


def test_a_desk_that_sends_without_end_takes_no_memory(
    hostile: HostileDesk, terminal: Callable[..., Terminal]
) -> None:
    hostile.answers["GET", SIGN_IN] = hostile.endless
    code, said = terminal("--admin-url", hostile.url).ends()
    assert (code, "more than 4194304 bytes" in said) == (2, True), said
    assert hostile.sent < 64 * 2**20


def test_the_text_of_a_desk_is_shown_without_its_escapes(
    hostile: HostileDesk, idp: Issuer, terminal: Callable[..., Terminal]
) -> None:
    one = {"issuer": idp.url, "client_id": ESCAPES}
    other = {"issuer": f"https://a.example/$(id){ESCAPES}", "client_id": "a;id"}
    for providers in ([one], [one, other], [other]):
        hostile.answers["GET", SIGN_IN] = begun(issuer=ESCAPES, providers=providers)
        _, said = terminal("--admin-url", hostile.url, "--wait", "1").ends()
        assert is_clean(said), said
        # What is there to be pasted runs nothing.
        assert "--client-id a;id" not in said


@pytest.mark.parametrize(
    "document",
    [
        {"providers": 5},
        {"providers": [5]},
        {"providers": [{"issuer": 5, "client_id": "a"}]},
        {"providers": [{"issuer": "https://a.example"}]},
        {"ticket": 5},
        {"ticket": ""},
        {"ticket": "t" * 60_000},
        {"ticket": "a b"},
        b"[" * 100_000,
        b'{"providers":[{"issuer":"https://a.example","client_id":"\\ud800"}]}',
    ],
)
def test_what_begins_no_sign_in_is_named(
    hostile: HostileDesk, idp: Issuer, work: Work, tmp_path: Path, document: Any
) -> None:
    answer = begun(idp.url, **document) if isinstance(document, dict) else (200, document)
    hostile.answers["GET", SIGN_IN] = answer
    command = ("desk", "sign-in", "--no-browser", "--admin-url", hostile.url)
    done = work.run(*command, XDG_STATE_HOME=str(tmp_path))
    assert done.exit_code == 2, done.exception
    assert "does not answer as a desk does" in words(done.stderr)


NOW = int(time.time())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (issued(sub=[1]), "$.sub"),
        (issued(sub=ESCAPES), "$.sub"),
        (issued(sub="client:" + "x" * 300), "$.sub"),
        (issued(jti="../../../x"), "$.jti"),
        (issued(jti=ESCAPES), "$.jti"),
        (issued(exp=10**30), "$.exp"),
        (issued(exp=-5), "$.exp"),
        (issued(exp="x"), "$.exp"),
        (issued(exp=1e308), "$.exp"),
        (issued(exp=NOW + 10**9), "lives for"),
        (issued(exp=NOW + 10**9, iat=NOW + 10**9 - 600), "clock of this machine"),
        (issued(exp=NOW - 10, iat=NOW - 600), "clock of this machine"),
        (issued(watchword={"kind": "workload"}), "of the kind 'workload' and not 'admin'"),
        (issued(watchword={}), "$.watchword"),
        (issued("DPoP"), "`token_type` is 'DPoP' and not 'Bearer'"),
        ((200, {"access_token": 5, "token_type": "Bearer"}), "$.access_token"),
        ((200, {"access_token": "a\r\nX: y", "token_type": "Bearer"}), "$.access_token"),
        ((200, b'{"access_token":"\\ud800","token_type":"Bearer"}'), "no JSON object"),
        ((200, b"[" * 100_000), "no JSON object"),
        ((200, [1]), "no JSON object"),
        ((404, None), "404"),
    ],
)
def test_what_is_no_admin_token_is_named_and_not_kept(
    hostile: HostileDesk, terminal: Callable[..., Terminal], tmp_path: Path, answer: Any, said: str
) -> None:
    hostile.answers["POST", SIGN_IN] = answer
    run = terminal("--admin-url", hostile.url)
    httpx.get(as_person(run.url, "carol"), trust_env=False)
    code, text = run.ends()
    assert code == 2, text
    assert said in words(text)
    assert "unforeseen" not in text
    assert is_clean(text)
    assert not list(tmp_path.glob(".local/state/watchword/desk/*"))


def test_whom_one_is_signed_in_as_is_said_and_who_it_was(
    world: World, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """Who has the address of another one's run can finish it as herself: it has to be seen."""
    url = world.desk.admin_url
    first = sign_in(terminal("--admin-url", url))
    assert f"That is {CAROL} at {world.provider}." in first
    assert f"End it: watchword desk sign-out --admin-url {url}" in first
    assert "earlier" not in first
    before = token_in(tmp_path)
    second = sign_in(terminal("--admin-url", url), "dana")
    assert "Signed in as client:dana until " in second
    assert f"That is {DANA} at" in second
    assert "client:carol was signed in here until now" in words(second)
    # The first token is reached by no sign-out any more, so it has ended.
    assert world.desk.admin("GET", "/tokens", before).status_code == 401
    assert world.desk.admin("GET", "/tokens", token_in(tmp_path)).status_code == 200


def test_of_sign_ins_at_once_one_token_is_left(
    world: World, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    url = world.desk.admin_url
    sign_in(terminal("--admin-url", url))

    def active() -> int:
        listed = world.desk.admin("GET", "/tokens?kind=admin&state=active", token_in(tmp_path))
        return len(listed.json()["tokens"])

    before = active()
    runs = [terminal("--admin-url", url) for _ in range(4)]
    for each in runs:
        assert httpx.get(as_person(each.url, "carol"), trust_env=False).status_code == 200
    assert [each.ends()[0] for each in runs] == [0] * 4
    assert active() == before


def test_a_token_that_cannot_be_kept_is_given_back(
    world: World, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    run = terminal("--admin-url", world.desk.admin_url)
    folder = tmp_path / ".local/state/watchword/desk"
    folder.mkdir(parents=True, mode=0o700)
    (folder / path_of(world.desk.admin_url).name).mkdir()
    httpx.get(as_person(run.url, "carol"), trust_env=False)
    code, said = run.ends()
    assert (code, "cannot be kept in" in words(said), "It is revoked at the desk." in said) == (2, True, True)
    assert not [each for each in folder.iterdir() if each.is_file()]


def test_signing_out_says_what_the_desk_did(
    hostile: HostileDesk, world: World, work: Work, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    state = {"XDG_STATE_HOME": str(tmp_path)}
    file = kept(tmp_path, hostile.url)
    done = work.run("desk", "sign-out", "--admin-url", hostile.url, **state)
    assert (done.exit_code, file.exists(), "None" in done.stderr) == (2, False, False)
    assert "404" in done.stderr
    refused = dict.fromkeys(("error", "error_description", "remedy", "request_id"), "x")
    path = f"/admin/v1/tokens/{'0' * 32}/revoke"
    for reason, code, said in (
        ("invalid_admin_token", 0, "nothing is left to revoke"),
        ("not_an_admin", 1, "ends by itself at"),
        ("rate_limited", 1, "Remedy: x"),
    ):
        kept(tmp_path, hostile.url)
        hostile.answers["POST", path] = 403, refused | {"reason": reason}
        done = work.run("desk", "sign-out", "--admin-url", hostile.url, **state)
        assert (done.exit_code, said in words(done.stderr)) == (code, True), done.stderr
    # A real desk, whose person is taken out of it.
    url = world.desk.admin_url
    with openid_issuer() as idp, started(person_object("carol", idp.url, CAROL)) as desk:
        url = desk.admin_url
        sign_in(terminal("--admin-url", url))
        desk.change(*objects())
        home = {"HOME": str(tmp_path), "XDG_STATE_HOME": ""}
        done = work.run("desk", "sign-out", "--admin-url", url, **home)
        assert "get a new token" not in words(done.stderr)
        assert "It opens nothing while that is so" in words(done.stderr)


@pytest.mark.parametrize(
    "changes",
    [
        {"token_id": "../x"},
        {"token_id": ESCAPES},
        {"subject": ESCAPES},
        {"expires_at": 10**30},
        {"expires_at": -1},
    ],
)
def test_a_file_that_no_sign_in_wrote_is_not_used(
    work: Work, tmp_path: Path, changes: dict[str, Any]
) -> None:
    url = "http://127.0.0.1:1"
    kept(tmp_path, url, **changes)
    for command in ("clients", "sign-out"):
        done = work.run("desk", command, "--admin-url", url, XDG_STATE_HOME=str(tmp_path))
        assert done.exit_code == 2, done.exception
        assert "holds no sign-in" in words(done.stderr)
        assert f"watchword desk sign-in --admin-url {url}" in words(done.stderr)
        assert is_clean(done.output)


def test_a_sign_in_that_ends_on_another_day_says_which(work: Work, tmp_path: Path) -> None:
    url = "http://127.0.0.1:1"
    kept(tmp_path, url, expires_at=86_400 * 366)
    done = work.run("desk", "clients", "--admin-url", url, XDG_STATE_HOME=str(tmp_path))
    assert "ended at 1971-01-0" in words(done.stderr)


def test_a_folder_that_others_may_write_to_is_not_used(work: Work, tmp_path: Path) -> None:
    url, state = "http://127.0.0.1:1", {"XDG_STATE_HOME": str(tmp_path)}
    folder = kept(tmp_path, url).parent
    for mode in (0o777, 0o770, 0o702):
        folder.chmod(mode)
        for command in (("clients",), ("sign-out",), ("sign-in", "--no-browser")):
            done = work.run("desk", *command, "--admin-url", url, **state)
            assert done.exit_code == 2
            assert f"chmod 700 {folder}" in words(done.stderr)
    folder.chmod(0o700)
    assert "does not answer" in work.run("desk", "clients", "--admin-url", url, **state).stderr


def test_a_file_in_the_way_of_the_folder_is_named_with_what_helps(work: Work, tmp_path: Path) -> None:
    url, state = "http://127.0.0.1:1", {"XDG_STATE_HOME": str(tmp_path)}
    (tmp_path / "watchword").write_text("")
    for command in (("clients",), ("sign-out",), ("sign-in", "--no-browser")):
        done = work.run("desk", *command, "--admin-url", url, **state)
        assert done.exit_code == 2
        said = words(done.stderr)
        assert "not a directory" in said
        assert "XDG_STATE_HOME" in said
        assert "Delete" not in said
        assert f"watchword desk sign-in --admin-url {url}" in said


def test_a_provider_in_plain_text_is_no_admin_url(hostile: HostileDesk, work: Work, tmp_path: Path) -> None:
    command = ("desk", "sign-in", "--no-browser", "--admin-url", hostile.url)
    for issuer in ("http://idp.example", "https://me:hunter2@idp.example", "javascript:alert(1)", ""):
        hostile.answers["GET", SIGN_IN] = begun(issuer)
        said = words(work.run(*command, XDG_STATE_HOME=str(tmp_path)).stderr)
        assert "neither https:// nor on this machine" in said
        assert "port-forward" not in said
        assert "hunter2" not in said
