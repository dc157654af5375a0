# SPDX-License-Identifier: Apache-2.0
"""A token in a header of its own: Authorization is the app's then, and decides nothing."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing import tokens
from testing.gate_process import write_bundle
from testing.manifests import compiled, issuer, service, workload
from tests.gate.http2.caller import Caller
from tests.gate.http2.caller import head as fields_of
from tests.gate.proxy.conftest import GRANTS, ROUTES
from tests.gate.proxy.scripted import Heard, Scene, credential, read_all, scene
from tests.gate.proxy.test_known_reads import read_answer, shown
from tests.gate.proxy.test_passing_on import body_of, status_of
from watchword.trust import decode_bundle
from watchword.trust.bundle_forms import entries_of

HEADER = {"header": "X-Watchword-Token"}
LINE = b"GET /app/acme/x HTTP/1.1"


def token(who: str) -> bytes:
    return credential(who).partition(b"Bearer ")[2]


def elsewhere() -> bytes:
    """A token of the same workload for another audience, such as one that the app checks by itself."""
    now = int(time.time())
    return tokens.token(iat=now - 60, nbf=now - 60, exp=now + 3500, aud=["of-the-app"])


def script(heard: Heard) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(heard.head), heard.head)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Scene]:
    """A gate whose service takes its token from X-Watchword-Token."""
    with scene(tmp_path, script, token=HEADER) as running:
        yield running


def message(*headers: bytes, line: bytes = LINE, last: bool = False) -> bytes:
    close = [b"Connection: close"] if last else []
    return b"\r\n".join([line, b"Host: gate", *headers, *close, b"", b""])


def ask(place: Scene, *headers: bytes, line: bytes = LINE) -> bytes:
    with place.connect() as link:
        link.sendall(message(*headers, line=line, last=True))
        return read_all(link)


@pytest.mark.parametrize(
    "own",
    [b"Basic YTpi", b"Bearer of-the-app", b"Bearer a.b.c", b"Bearer " + elsewhere(), b"Negotiate a b"],
)
def test_the_apps_own_authorization_goes_on_and_decides_nothing(place: Scene, own: bytes) -> None:
    for _ in range(3):
        answer = ask(place, b"Authorization: " + own, b"X-Watchword-Token: " + token("one"))
        assert status_of(answer) == 200
        head = body_of(answer)
        assert shown(head, b"authorization") == [own]
        assert shown(head, b"x-watchword-token") == []
        assert shown(head, b"x-watchword-subject") == [b"system:serviceaccount:apps:one"]
        assert token("one") not in head


COPIES = [
    b"Authorization: Bearer %b",
    b"authorization: bearer %b",
    b"Authorization: Bearer  %b",
    b"Authorization: %b",
    b"Authorization: Token %b",
    b'Authorization: Bearer "%b"',
    b"Authorization: Basic x, Bearer %b",
    b"Cookie: session=1; access_token=%b",
    b"X-Api-Key: %b",
    b"X-Access-Token: %b",
    b"X-Anything: a%bb",
    b"Sec-WebSocket-Protocol: bearer, %b",
    b"Via: 1.1 %b",
]


def test_no_header_carries_the_token_to_the_app(place: Scene) -> None:
    basic = b"Authorization: Basic YTpi"
    for copy, other in itertools.product(COPIES, ((), (basic,))):
        headers = (*other, copy % token("one"), *other)
        answer = ask(place, *headers, b"X-Watchword-Token: " + token("one"), b"X-Ok: 1")
        assert status_of(answer) == 200
        assert token("one") not in body_of(answer)
        assert shown(body_of(answer), b"x-ok") == [b"1"]


def test_no_token_of_another_caller_of_the_service_reaches_it_by_authorization(place: Scene) -> None:
    for copy in COPIES[:7]:
        answer = ask(place, copy % token("two"), b"X-Watchword-Token: " + token("one"))
        assert status_of(answer) == 200
        assert token("two") not in body_of(answer)


@pytest.mark.parametrize("name", [b"Content-Type", b"Host"])
def test_a_message_that_is_described_by_the_token_is_not_passed_on(place: Scene, name: bytes) -> None:
    line = b"%b: %b" % (name, token("one"))
    with place.connect() as link:
        parts = [LINE, line, b"X-Watchword-Token: " + token("one"), b"Connection: close", b"", b""]
        link.sendall(b"\r\n".join(parts if name == b"Host" else [LINE, b"Host: gate", *parts[1:]]))
        assert status_of(read_all(link)) == 400
    assert place.app.heard == []


def test_a_copy_of_the_one_token_in_authorization_stays_here_too(tmp_path: Path) -> None:
    with scene(tmp_path, script) as running, running.connect() as link:
        # Four times by each: the second one's first is what the first one taught.
        turns = [("one", "two")] * 4 + [("two", "two")] * 4 + [("one", "one")] * 4
        for copy, (who, copied) in itertools.product(COPIES[7:], turns):
            link.sendall(message(copy % token(copied), credential(who)))
            head = read_answer(link)
            assert token(who) not in head
            assert shown(head, b"x-watchword-subject") == [b"system:serviceaccount:apps:" + who.encode()]


PUBLIC = {"path": "/healthz", "methods": ["GET"], "public": True}
WHO = [(LINE, lambda: (b"X-Watchword-Token: " + token("one"),)), (b"GET /healthz HTTP/1.1", tuple)]


@pytest.mark.parametrize("scheme", [b"Negotiate", b"NTLM", b"negotiate"])
@pytest.mark.parametrize("who", range(len(WHO)), ids=["workload", "stranger"])
def test_who_signs_a_connection_to_the_app_in_has_it_for_itself(
    tmp_path: Path, who: int, scheme: bytes
) -> None:
    line, own = WHO[who]
    with scene(tmp_path, script, token=HEADER, routes=[*ROUTES, PUBLIC]) as place:
        with place.connect() as signed_in, place.connect() as other:
            for link, extra in [
                (signed_in, (b"Authorization: %b YTpi" % scheme,)),
                (other, ()),
                # As it has it without a gate: the sign-in takes two rounds, and then holds.
                (signed_in, (b"Authorization: %b Yzpk" % scheme,)),
                (other, (b"Authorization: Basic YTpi",)),
                (signed_in, ()),
                (other, ()),
            ]:
                link.sendall(message(*own(), *extra, line=line))
                read_answer(link)
        by_caller = [each.connection for each in place.app.heard]
        assert set(by_caller[::2]).isdisjoint(by_caller[1::2])


def test_streams_that_sign_a_connection_to_the_app_in_share_it_with_no_other(place: Scene) -> None:
    with Caller(place.gate.address) as caller:
        for own in (b"Negotiate YTpi", b"", b"Negotiate Yzpk", b"Basic YTpi", b"Negotiate YTpi", b""):
            more = [(b"authorization", own)] if own else []
            fields = fields_of(b"GET", b"/app/acme/x", (b"x-watchword-token", token("one")), *more)
            assert caller.ask(fields).status == 200
    by_stream = [each.connection for each in place.app.heard]
    assert len({by_stream[0], by_stream[1], by_stream[2]}) == 3
    assert {by_stream[3], by_stream[5]}.isdisjoint({by_stream[0], by_stream[2], by_stream[4]})


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ((), 401, b"missing_credential"),
        ((credential("one"),), 401, b"missing_credential"),
        ((b"X-Watchword-Token: ",), 400, b"malformed_credential"),
        ((b"X-Watchword-Token: Bearer " + token("one"),), 400, b"malformed_credential"),
        ((b"X-Watchword-Token: " + token("one"),) * 2, 400, b"malformed_credential"),
        ((b"X-Watchword-Token: nonsense", credential("one")), 401, b"malformed_token"),
        ((b"X_Watchword_Token: " + token("one"),), 401, b"missing_credential"),
        ((b"X-Watchword-Token: " + token("one")[:-4] + b"AAAA",), 401, b"bad_signature"),
    ],
)
def test_nothing_but_that_header_lets_anyone_in(
    place: Scene, headers: tuple[bytes, ...], status: int, reason: bytes
) -> None:
    for line in (LINE, b"GET /authz HTTP/1.1", b"GET /authz/envoy/app/acme/x HTTP/1.1"):
        for _ in range(2):
            answer = ask(place, *headers, line=line)
            assert status_of(answer) == status
            assert b"x-watchword-reason: " + reason + b"\r\n" in answer
            assert b"X-Watchword-Token" in answer or reason in {b"malformed_token", b"bad_signature"}
    assert place.app.heard == []


def test_on_one_connection_each_request_is_its_own_tokens(place: Scene) -> None:
    with place.connect() as link:
        for who, other in (("one", "two"), ("two", "one"), ("one", "one"), ("two", "two")) * 3:
            link.sendall(message(b"X-Watchword-Token: " + token(who), credential(other)))
            head = read_answer(link)
            assert shown(head, b"x-watchword-subject") == [b"system:serviceaccount:apps:" + who.encode()]


@pytest.mark.parametrize("path", [b"GET /authz HTTP/1.1", LINE], ids=["authz", "proxied"])
def test_what_was_known_of_reads_counts_no_more_when_the_header_changes(tmp_path: Path, path: bytes) -> None:
    trusted = {"name": "one", "serviceAccount": {"namespace": "apps", "name": "one"}, "grants": GRANTS}
    with scene(tmp_path, script) as place, place.connect() as link:

        def status() -> int:
            link.sendall(message(credential("one"), line=path))
            found = b""
            while b"\r\n\r\n" not in found:
                found += link.recv(65536)
            length = int(shown(found, b"content-length")[0])
            while len(body_of(found)) < length:
                found += link.recv(65536)
            return status_of(found)

        for _ in range(4):
            assert status() == 200
        for number, spec in enumerate(({"token": HEADER}, {}), start=2):
            write_bundle(
                tmp_path / "bundle.json",
                issuer(),
                service(routes=ROUTES, **spec),
                workload(**trusted),
                generation=number,
            )
            while place.gate.ready().json()["generation"] != number:
                time.sleep(0.05)
            for _ in range(3):
                assert status() == (401 if spec else 200)


def test_only_the_whole_form_says_so() -> None:
    [bundle] = compiled(issuer(), service(token=HEADER), workload()).bundles
    entries = entries_of(bundle)
    whole = decode_bundle(entries["bundle.v2.json"])
    assert (whole.token_header, whole.requires) == ("X-Watchword-Token", ("token.header",))
    assert b"eader" not in entries["bundle.json"]
