# SPDX-License-Identifier: Apache-2.0
"""Attacks on the console: other pages, rebound names, stolen links. Each is sent to a real server."""

from __future__ import annotations

import re
import socket
import stat

import pytest

from tests.console.running import Console, active_elements
from watchword.console.serve import listen_on_loopback
from watchword.console.session import LinkFile, Session
from watchword.process.listening import CannotStartError

PATHS = ("/", "/services", "/services/tuist/tuist-server", "/workloads", "/issuers", "/refusals", "/token")
OTHERS = ("/desks", "/events", "/nothing")


def other_hosts(console: Console) -> list[list[tuple[str, str]]]:
    port = console.port
    names = [
        f"evil.example:{port}",  # a name that was rebound to this machine
        f"localhost:{port}",
        f"127.0.0.1:{port}",
        f"[::1]:{port}",
        console.session.host,
        f"{console.session.host}:{port + 1}",
        f"{console.session.host}.:{port}",
        f"x.{console.authority}",
        "",
    ]
    return [*([("Host", name)] for name in names), []]


@pytest.mark.parametrize("path", [*PATHS, *OTHERS, "/static/console.css"])
def test_a_request_for_another_name_is_answered_by_no_page(console: Console, path: str) -> None:
    for hosts in other_hosts(console):
        answer = console.send("GET", path, [*hosts, ("Cookie", console.cookie)])
        assert answer.status in {400, 421}, (hosts, answer.status)
        assert "tuist-server" not in answer.text


def test_two_names_are_none(console: Console) -> None:
    both = [("Host", console.authority), ("Host", "evil.example"), ("Cookie", console.cookie)]
    assert console.send("GET", "/services", both).status in {400, 421}


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://127.0.0.1:8080",
        "http://localhost:{port}",
        "{own}.evil.example",
        "",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_page_of_another_origin_gets_nothing_even_with_the_cookie(
    console: Console, origin: str, method: str
) -> None:
    named = origin.format(port=console.port, own=console.origin)
    headers = [("Host", console.authority), ("Cookie", console.cookie), ("Origin", named)]
    answer = console.send(method, "/token" if method == "POST" else "/services", headers)
    assert answer.status == 403
    assert "tuist-server" not in answer.text


def test_a_form_of_another_page_that_hides_its_origin_is_refused(console: Console) -> None:
    bare = [("Host", console.authority), ("Cookie", console.cookie)]
    assert console.send("POST", "/token", bare).status == 403
    for site in ("cross-site", "same-site", "none"):
        sent = [*bare, ("Origin", console.origin), ("Sec-Fetch-Site", site)]
        assert console.send("POST", "/token", sent).status == 403
    allowed = [*bare, ("Origin", console.origin), ("Sec-Fetch-Site", "same-origin")]
    assert console.send("POST", "/token", allowed).status == 400


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
def test_other_methods_are_refused(console: Console, method: str) -> None:
    headers = [("Host", console.authority), ("Cookie", console.cookie), ("Origin", console.origin)]
    assert console.send(method, "/services", headers).status == 405


@pytest.mark.parametrize("path", [*PATHS, *OTHERS])
def test_without_the_session_no_page_says_anything(console: Console, path: str) -> None:
    stolen = console.cookie[:-1] + ("A" if console.cookie[-1] != "A" else "B")
    name = console.cookie.partition("=")[0]
    for cookie in ("", stolen, f"{name}=", name, f"x{console.cookie}", console.cookie.upper()):
        answer = console.send("GET", path, [("Host", console.authority), ("Cookie", cookie)])
        assert answer.status == 403
        assert "tuist-server" not in re.sub(r'href="[^"]*"', "", answer.text)


def test_the_session_is_found_among_other_cookies(console: Console) -> None:
    cookies = f"other=1; {console.cookie}; watchword_console=x"
    sent = [("Host", console.authority), ("Cookie", cookies)]
    assert console.send("GET", "/services", sent).status == 200


def test_who_comes_by_a_link_of_another_site_is_led_to_the_page_and_to_no_other_host(
    console: Console,
) -> None:
    host = [("Host", console.authority)]
    for target, shown in (
        ("/services/tuist/tuist-server?scope=a", 'href="/services/tuist/tuist-server?scope=a"'),
        ("//evil.example/", 'href="/"'),
        ("/%22%3E%3Cscript%3E", 'href="/%22%3E%3Cscript%3E"'),
        ("/?x=%22%3E<script>", None),
    ):
        answer = console.send("GET", target, host)
        if shown is None:
            assert "<script>" not in answer.text
        else:
            assert (answer.status, shown in answer.text) == (403, True), answer.text


def test_every_answer_has_the_same_strict_headers(console: Console) -> None:
    own = [("Host", console.authority), ("Cookie", console.cookie)]
    answers = [
        console.get(path) for path in (*PATHS, "/desks", "/nothing", "/static/console.js", "/services?x=1")
    ]
    answers += [
        console.send("GET", "/", []),
        console.send("GET", "/", own[:1]),
        console.send("PUT", "/", own),
    ]
    for answer in answers:
        if "content-security-policy" not in answer.headers:
            # The protocol's own answer to a request without a Host.
            assert answer.status == 400
            continue
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert "access-control-allow-origin" not in answer.headers
        if answer.headers["content-type"].startswith("text/html"):
            assert active_elements(answer.text) == []


def test_the_link_opens_once_and_the_cookie_is_for_this_site_alone(closed: Console) -> None:
    host = [("Host", closed.authority)]
    first = closed.send("GET", closed.link_path, host)
    assert first.status == 200
    cookie = first.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= {each.strip() for each in cookie.split(";")}
    assert "Domain" not in cookie
    assert closed.was_opened == [True]
    again = closed.send("GET", closed.link_path, host)
    assert (again.status, "set-cookie" in again.headers) == (403, False)
    assert "works once" in again.text
    # Not even with the session: a second one would be someone else's.
    with_session = [*host, ("Cookie", cookie.partition(";")[0])]
    assert "set-cookie" not in closed.send("GET", closed.link_path, with_session).headers
    assert closed.send("GET", "/services", with_session).status == 200


def test_what_only_looks_at_the_link_does_not_use_it_up(closed: Console) -> None:
    host = [("Host", closed.authority)]
    assert closed.send("HEAD", closed.link_path, host).status == 403
    other = [*host, ("Origin", "https://evil.example")]
    assert closed.send("GET", closed.link_path, other).status == 403
    assert closed.send("GET", closed.link_path, [("Host", f"evil.example:{closed.port}")]).status == 421
    for wrong in ("", "x", closed.link_path[len("/open/") : -1], closed.link_path[len("/open/") :] + "/"):
        assert closed.send("GET", f"/open/{wrong}", host).status == 403
    assert closed.was_opened == []
    closed.open()
    assert closed.get("/services").status == 200


def test_before_the_link_was_used_no_cookie_opens_anything(closed: Console) -> None:
    name = "watchword_console"
    for value in ("", "x", closed.link_path.rpartition("/")[2]):
        sent = [("Host", closed.authority), ("Cookie", f"{name}={value}")]
        assert closed.send("GET", "/services", sent).status == 403


def test_the_link_is_in_a_file_of_its_owner_alone_and_is_given_out_once() -> None:
    session = Session()
    url = session.link(1234)
    file = LinkFile(url)
    try:
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(file.path.parent.stat().st_mode) == 0o700
        assert url in file.path.read_text()
        assert url.rpartition("/")[2] not in str(file.path)
    finally:
        file.remove()
    assert not file.path.parent.exists()
    with pytest.raises(ValueError, match="given out"):
        session.link(1234)


def test_two_consoles_share_neither_name_nor_link() -> None:
    one, other = Session(), Session()
    assert one.host != other.host
    assert one.host.endswith(".localhost")
    value = one.open(one.link(1).rpartition("/")[2])
    assert value is not None
    assert not other.holds(f"watchword_console={value}")


def test_the_port_is_taken_on_both_loopback_addresses_or_on_none() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("the machine has no IPv6")
    listeners = listen_on_loopback(0)
    try:
        addresses = {each.getsockname()[0] for each in listeners}
        assert addresses <= {"127.0.0.1", "::1"}
        assert "127.0.0.1" in addresses
    finally:
        for each in listeners:
            each.close()
    with socket.socket(socket.AF_INET6) as squatter:
        try:
            squatter.bind(("::1", 0))
        except OSError:
            pytest.skip("the machine has no IPv6 loopback")
        squatter.listen()
        # A browser asks ::1 first: where someone else holds it, there is no console.
        with pytest.raises(CannotStartError, match="--listen-port"):
            listen_on_loopback(squatter.getsockname()[1])
