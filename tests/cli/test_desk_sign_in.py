# SPDX-License-Identifier: Apache-2.0
"""`watchword desk sign-in` and `sign-out` as a terminal runs them, with a real desk and a provider."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.controlplane.process import wait_until
from testing.openid import CAROL, Issuer, openid_issuer
from testing.running_desk import person_object
from tests.cli.conftest import Work
from tests.cli.sign_in_run import Terminal, World, as_person, kept, started
from tests.desk.admin.world import objects
from watchword.cli.desk.loopback import Answered, Loopback
from watchword.cli.desk.session import Session
from watchword.desk.agents.oidc_http import Providers


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with openid_issuer() as idp, started(person_object("carol", idp.url, CAROL)) as desk:
        yield World(desk, idp.url)


def test_a_person_signs_in_asks_and_signs_out(
    world: World, terminal: Callable[..., Terminal], work: Work, tmp_path: Path
) -> None:
    admin_url, home = world.desk.admin_url, {"HOME": str(tmp_path), "XDG_STATE_HOME": ""}
    none = work.run("desk", "tokens", "list", "--admin-url", admin_url, **home)
    assert none.exit_code == 2
    assert "watchword desk sign-in --admin-url" in none.stderr.replace("\n", " ")
    run = terminal("--admin-url", f"{admin_url}/")
    assert run.url.startswith(f"{world.provider}/")
    assert run.query["code_challenge_method"] == "S256"
    assert (run.back.hostname, run.back.path) == ("127.0.0.1", "/callback")
    shown = httpx.get(as_person(run.url, "carol"), trust_env=False)
    assert shown.status_code == 200
    assert shown.headers["content-security-policy"].startswith("default-src 'none'")
    assert "carol" not in shown.text
    code, said = run.ends()
    assert (code, "Signed in as client:carol until " in said) == (0, True), said
    [file] = (tmp_path / ".local/state/watchword/desk").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    kept = json.loads(file.read_bytes())
    listed = work.run("desk", "tokens", "list", "--kind", "admin", "--admin-url", admin_url, **home)
    assert listed.exit_code == 0, listed.output
    assert "client:carol" in listed.stdout
    assert kept["access_token"] not in listed.output + said
    assert world.desk.admin("GET", "/tokens", kept["access_token"]).status_code == 200
    out = work.run("desk", "sign-out", "--admin-url", admin_url, **home)
    assert out.exit_code == 0, out.output
    assert not file.exists()
    answer = world.desk.admin("GET", "/tokens", kept["access_token"])
    assert answer.json()["reason"] == "invalid_admin_token"
    again = work.run("desk", "sign-out", "--admin-url", admin_url, **home)
    assert (again.exit_code, "No one is signed in" in again.stderr) == (1, True)


def test_another_page_another_name_and_another_state_change_nothing(
    world: World, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    run = terminal("--admin-url", world.desk.admin_url)
    state = run.query["state"]
    port = run.back.port
    good = f"/callback?code=stolen&state={state}"
    assert run.ask(f"/callback?code=x&state={state}x") == 400
    assert run.ask("/callback?code=x") == 400
    assert run.ask("/callback") == 400
    assert run.ask(f"/callback?code=x&state={state}&state={state}") == 400
    assert run.ask(f"/callback?code=x&state={state}&code=y") == 400
    assert run.ask("/callback?error=access_denied&state=x") == 400
    assert run.ask("/callback?" + "&".join(f"p{number}=1" for number in range(40)) + f"&state={state}") == 400
    # DNS rebinding: the page's own name leads to this machine, and the browser says it as Host.
    for host in (
        "evil.example",
        f"evil.example:{port}",
        f"localhost:{port}",
        "127.0.0.1",
        f"127.0.0.1:{port}.",
        "",
    ):
        assert run.ask(good, host) in (400, 421), host
    assert run.ask(f"http://evil.example{good}") == 404
    assert run.ask(f"//evil.example{good}") == 404
    assert run.ask(good.replace("/callback", "/callback/")) == 404
    assert run.ask(good.replace("/callback", "/")) == 404
    for method in ("POST", "HEAD", "OPTIONS", "PUT"):
        assert run.ask(good, method=method) == 501
    # A connection that says nothing, as a browser opens ahead of need, keeps no one waiting.
    silent = http.client.HTTPConnection("127.0.0.1", port or 0, timeout=30)
    silent.connect()
    assert httpx.get(as_person(run.url, "carol"), trust_env=False).status_code == 200
    silent.close()
    code, said = run.ends()
    assert code == 0, said


def test_who_is_no_admin_is_told_and_nothing_is_kept(
    world: World, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    run = terminal("--admin-url", world.desk.admin_url)
    httpx.get(as_person(run.url, "mallory"), trust_env=False)
    code, said = run.ends()
    assert code == 1
    assert "not_an_admin_person" in said
    assert "Remedy: " in said
    assert not (tmp_path / ".local").exists()


def test_a_code_that_someone_else_got_is_no_sign_in(
    world: World, terminal: Callable[..., Terminal], tmp_path: Path
) -> None:
    """A person is lured to an answer that was made for another run: another nonce is in its ID token."""
    victim, thief = (terminal("--admin-url", world.desk.admin_url) for _ in range(2))
    code = parse_qs(urlsplit(as_person(thief.url, "carol")).query)["code"][0]
    assert victim.ask(f"/callback?code={code}&state={victim.query['state']}") == 200
    ended, said = victim.ends()
    assert ended == 1, said
    assert not (tmp_path / ".local").exists()


def test_the_provider_that_says_no_and_the_person_who_does_not_come(
    world: World, terminal: Callable[..., Terminal]
) -> None:
    run = terminal("--admin-url", world.desk.admin_url)
    assert run.ask(f"/callback?error=access_denied%1b[31m&state={run.query['state']}") == 400
    code, said = run.ends()
    assert (code, "access_denied" in said, "\x1b" in said) == (1, True, False)
    code, said = terminal("--admin-url", world.desk.admin_url, "--wait", "1").ends()
    assert (code, "No one signed in within 1 s" in said) == (1, True)
    code, said = terminal(
        "--admin-url", world.desk.admin_url, "--port", str(urlsplit(world.desk.url).port)
    ).ends()
    assert (code, "cannot be listened on" in said) == (2, True)


@pytest.mark.parametrize(
    ("target", "must", "problem"),
    [
        ("code=c", False, ""),
        ("code=c&iss=https%3A%2F%2Fidp.example", False, ""),
        ("code=c&iss=https%3A%2F%2Fidp.example", True, ""),
        ("code=c", True, "another provider"),
        ("code=c&iss=https%3A%2F%2Fevil.example", False, "another provider"),
        ("code=c&iss=https%3A%2F%2Fidp.example%2F", False, "another provider"),
        ("code=c&iss=", False, "another provider"),
        (
            "error=access_denied&iss=https%3A%2F%2Fidp.example&code=c",
            True,
            "the provider says 'access_denied'",
        ),
        ("iss=https%3A%2F%2Fidp.example", True, "no code"),
        ("code=", False, "no code"),
    ],
)
def test_an_answer_is_of_the_provider_that_was_asked(target: str, must: bool, problem: str) -> None:
    with Loopback("s" * 43, "https://idp.example", must_name_issuer=must) as listener:
        url = f"{listener.redirect_uri}?{target}&state={'s' * 43}"
        assert httpx.get(url, trust_env=False).status_code == (400 if problem else 200)
        found = listener.wait(30)
        assert found is not None
        assert (problem in found.problem, found.code) == (True, "" if problem else "c")
        assert "'c'" not in repr(found)
        # The first answer is the answer.
        assert httpx.get(url, trust_env=False).status_code == 410
    with Loopback("s", "i", must_name_issuer=False) as listener:
        assert listener.wait(0) is None
    assert Answered("secret-code").code not in repr(Answered("secret-code"))


def test_a_page_that_holds_many_connections_takes_few_threads_and_keeps_no_one_out() -> None:
    with Loopback("s" * 43, "https://idp.example", must_name_issuer=False) as listener:
        host, port = listener.authority.split(":")
        before = threading.active_count()
        links = [socket.create_connection((host, int(port))) for _ in range(40)]
        try:
            # What is beyond the bound is closed at once.
            closed = [each for each in links if select.select([each], [], [], 0.2)[0]]
            assert len(closed) >= 24
            assert threading.active_count() - before <= 16
        finally:
            for each in links:
                each.close()

        def is_answered() -> bool:
            try:
                url = f"{listener.redirect_uri}?code=c&state={'s' * 43}"
                return httpx.get(url, trust_env=False).status_code == 200
            except httpx.HTTPError:
                return False

        wait_until(is_answered, what="the answer is taken", timeout_seconds=30)


@pytest.fixture(scope="module")
def listener() -> Iterator[Loopback]:
    with Loopback("s" * 43, "https://idp.example", must_name_issuer=False) as found:
        yield found


@settings(max_examples=300, deadline=None)
@given(
    hosts=st.lists(st.one_of(st.text(max_size=30), st.just("OWN")), max_size=2),
    target=st.one_of(
        st.text(max_size=60),
        st.text(alphabet="/?&=%#[]:@callbcode2fst", max_size=60).map(lambda text: f"/callback?{text}"),
        st.text(alphabet="&=%cstaode", max_size=40).map(
            lambda text: f"/callback?code=c&state={'s' * 42}&{text}"
        ),
    ),
)
def test_no_request_without_the_state_is_taken(listener: Loopback, hosts: list[str], target: str) -> None:
    named = [listener.authority if each == "OWN" else each for each in hosts]
    status, text = listener._take(named, target)
    assert status in (400, 404, 421)
    assert listener.wait(0) is None
    assert "sign-in" in text or "nothing" in text


def test_a_provider_says_whether_it_names_itself() -> None:
    with openid_issuer() as idp:
        assert Providers().endpoints(idp.url).names_itself is False
        plain = Issuer.document
        idp.document = lambda path: (
            plain(idp, path)
            | {  # type: ignore[method-assign]
                "authorization_response_iss_parameter_supported": True
            }
        )
        assert Providers().endpoints(idp.url).names_itself is True


FAR: list[tuple[str, str]] = [
    ("http://desk.example.com:8445", "neither https://"),
    ("http://127.0.0.1.evil.example", "neither https://"),
    ("http://127.0.0.1@evil.example", "neither https://"),
    ("ftp://127.0.0.1", "neither https://"),
    ("desk", "neither https://"),
    ("http://127.0.0.1:1", "does not answer"),
]


@pytest.mark.parametrize(("url", "words"), FAR)
def test_no_token_goes_over_a_network_in_plain_text(work: Work, url: str, words: str) -> None:
    done = work.run("desk", "sign-in", "--no-browser", "--admin-url", url)
    assert done.exit_code == 2
    assert words in done.stderr.replace("\n", " ")


def test_a_desk_without_people_and_one_with_several_providers_say_what_to_do(work: Work) -> None:
    with started() as desk:
        none = work.run("desk", "sign-in", "--no-browser", "--admin-url", desk.admin_url)
        assert (none.exit_code, "No person can sign in" in none.stderr) == (2, True)
        desk.change(
            *objects(),
            person_object("a", "http://127.0.0.1:9", "a@corp.example"),
            person_object("b", "http://127.0.0.1:9", "b@corp.example", clientId="other"),
            person_object("c", "https://idp.example", "c@corp.example"),
        )
        several = work.run("desk", "sign-in", "--no-browser", "--admin-url", desk.admin_url)
        said = re.sub(r"\s+", " ", several.stderr)
        assert several.exit_code == 2
        assert "--issuer https://idp.example --client-id watchword-cli" in said
        flags = ("--issuer", "http://127.0.0.1:9", "--client-id", "other")
        away = work.run("desk", "sign-in", "--no-browser", "--admin-url", desk.admin_url, *flags)
        assert (away.exit_code, "cannot be used" in away.stderr) == (2, True)
        unknown = work.run(
            "desk", "sign-in", "--no-browser", "--admin-url", desk.admin_url, "--issuer", "https://x.example"
        )
        assert (unknown.exit_code, "No provider of the desk fits" in unknown.stderr) == (2, True)


def readable(file: Path) -> None:
    file.chmod(0o644)


def linked(file: Path) -> None:
    elsewhere = file.with_name("elsewhere")
    file.rename(elsewhere)
    file.symlink_to(elsewhere)


def piped(file: Path) -> None:
    file.unlink()
    os.mkfifo(file, 0o600)


def a_folder(file: Path) -> None:
    file.unlink()
    file.mkdir(0o700)


def junk(file: Path) -> None:
    file.write_text("a.b.c")


def more(file: Path) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | {"admin": True}))


@pytest.mark.parametrize("spoil", [readable, linked, piped, a_folder, junk, more])
def test_a_file_that_others_may_know_or_make_is_not_used(
    work: Work, tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    url = "http://127.0.0.1:1"
    spoil(kept(tmp_path, url))
    for command in (("clients",), ("sign-out",)):
        done = work.run("desk", *command, "--admin-url", url, XDG_STATE_HOME=str(tmp_path))
        assert done.exit_code == 2, done.output
        assert "sign in again" in re.sub(r"\s+", " ", done.stderr)
        assert "a.b.c" not in done.output


def test_a_sign_in_is_for_one_url_and_for_as_long_as_it_lasts(work: Work, tmp_path: Path) -> None:
    url, state = "http://127.0.0.1:1", {"XDG_STATE_HOME": str(tmp_path)}
    file = kept(tmp_path, url, url="http://127.0.0.1:2")
    assert "another admin URL" in work.run("desk", "clients", "--admin-url", url, **state).stderr
    file.unlink()
    kept(tmp_path, url, expires_at=int(time.time()) - 1)
    ended = work.run("desk", "clients", "--admin-url", url, **state)
    assert ended.exit_code == 2
    assert re.search(r"ended at .* watchword desk sign-in --admin-url", re.sub(r"\s+", " ", ended.stderr))
    out = work.run("desk", "sign-out", "--admin-url", url, **state)
    assert (out.exit_code, "had ended" in out.stderr) == (0, True)
    # A desk that is away: what is here is deleted all the same.
    file = kept(tmp_path, url)
    out = work.run("desk", "sign-out", "--admin-url", url, **state)
    assert (out.exit_code, file.exists()) == (2, False)
    assert "a.b.c" not in repr(Session(url, "a.b.c", "", "", 0))


@pytest.mark.parametrize("name", ["sign-in", "sign-out"])
def test_each_command_teaches_with_an_example_and_exit_codes(work: Work, name: str) -> None:
    said = work.run("desk", name, "--help").stdout
    assert "Example" in said
    assert "Exit codes:" in said
