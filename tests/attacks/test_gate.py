# SPDX-License-Identifier: Apache-2.0
"""The attacks against a real gate over a socket: each twice, the second time from the cache."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks import manifests
from tests.attacks.case import Case, ids
from tests.attacks.gateprocess import POLL_SECONDS, Gate, read, running_gate
from tests.attacks.http_requests import ALLOWED_PATH, OPS, PROXIES, REQUESTS, SPELLINGS, nginx, request
from tests.attacks.tokens_all import TOKENS
from tests.attacks.world import token
from watchword.identity import Reason
from watchword.trust import compile_resources, encode_bundle, parse_manifests

# Other bytes never reach the checks: HTTP or the header's own grammar refuses them first.
TOKEN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
HEADER_BYTES = 32 * 1024
# HTTP cannot say these: a CRLF behind a token ends its header and leaves a good request, and Bearer with
# nothing behind it is a case of K5.
UNSAYABLE = ("signature: a line break behind", "an empty token")
BY_HEADER = [case for case in TOKENS if case.name not in UNSAYABLE]
IDENTITY = ("subject", "issuer", "workload", "scopes", "accounts", "decision-id")


def bundle() -> bytes:
    made = compile_resources(parse_manifests([("world", manifests.text(*manifests.world()))]).resources)
    return encode_bundle(made.bundles[0])


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with running_gate(tmp_path_factory.mktemp("gate"), bundle()) as gate:
        yield gate
        # H10: with the audit log on and every level logged, no token and no signature was written anywhere.
        said = gate.said.read_bytes()
        assert token().rpartition(b".")[2] not in said
        assert b"eyJ" not in said


def status_of(reason: str) -> int:
    return next((each.status for each in Reason if each.code == reason), 0) or int(reason)


@pytest.mark.parametrize("case", BY_HEADER, ids=ids(BY_HEADER))
def test_a_hostile_token_is_refused_cold_and_from_the_cache(case: Case[bytes], gate: Gate) -> None:
    hostile = case.build()
    whole = request("/authz", b"Authorization: Bearer " + hostile, good=False)
    sent_as_is = not hostile.translate(None, TOKEN_BYTES)
    for _ in range(2):
        answer = gate.send(whole)
        if sent_as_is and len(hostile) <= HEADER_BYTES:
            assert (answer.status, answer.reason) == (status_of(case.reason), case.reason)
        else:
            assert answer.status in (0, 400, 401, 431)


@pytest.mark.parametrize("case", REQUESTS, ids=ids(REQUESTS))
def test_a_hostile_request_gets_its_answer_twice(case: Case[bytes], gate: Gate) -> None:
    for _ in range(2):
        answer = gate.send(case.build())
        assert (answer.reason, answer.status) == (case.reason, status_of(case.reason))


@pytest.mark.parametrize("case", OPS, ids=ids(OPS))
def test_the_ops_port_opens_no_other_door(case: Case[bytes], gate: Gate) -> None:
    assert gate.send(case.build(), ops=True).status == 404


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_request_that_the_attacks_change_is_allowed(proxy: str, gate: Gate) -> None:
    assert gate.send(PROXIES[proxy](ALLOWED_PATH)).status == 200


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_yes_has_each_identity_header_once_and_never_the_callers_own(spelling: str, gate: Gate) -> None:
    for lines in ((), (f"{spelling}: mallory",), (f"{spelling}: mallory", f"Connection: {spelling}, close")):
        answer = gate.send(request("/authz", *lines))
        assert answer.status == 200
        ours = [name for name, _ in answer.headers if name.startswith("x-watchword-")]
        assert sorted(ours) == sorted(f"x-watchword-{name}" for name in IDENTITY)
        assert "mallory" not in str(answer.headers)


def test_one_token_gets_another_answer_on_another_route(gate: Gate) -> None:
    # P3: what is cached is who is calling, and never what that caller may do.
    wanted = [
        (ALLOWED_PATH, "GET", "200"),
        (ALLOWED_PATH, "DELETE", "insufficient_scope"),
        ("/admin", "GET", "no_route"),
        ("/api/accounts/other/usage", "GET", "account_not_granted"),
    ] * 20
    with gate.connection() as link:
        for path, method, reason in wanted:
            link.sendall(nginx(path, method))
            assert read(link).reason == reason


def test_pipelined_requests_are_answered_in_their_order(gate: Gate) -> None:
    mixed = [nginx(ALLOWED_PATH), nginx("/admin"), request("/authz", good=False), request()] * 10
    with gate.connection() as link:
        link.sendall(b"".join(mixed))
        stream = link.makefile("rb")
        statuses = []
        for _ in mixed:
            statuses.append(int(stream.readline().split()[1]))
            length = 0
            while (line := stream.readline()) != b"\r\n":
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            stream.read(length)
        stream.close()
    assert statuses == [200, 403, 401, 200] * 10


FRAMING = [
    ("a length and chunks", ["Content-Length: 5", "Transfer-Encoding: chunked"], b"0\r\n\r\n"),
    ("two lengths", ["Content-Length: 0", "Content-Length: 60"], b""),
    ("a length of two numbers", ["Content-Length: 0, 60"], b""),
    ("a negative length", ["Content-Length: -1"], b""),
    ("a hexadecimal length", ["Content-Length: 0x10"], b""),
    ("a length with a plus", ["Content-Length: +5"], b""),
    ("chunked that is not last", ["Transfer-Encoding: chunked, identity"], b"0\r\n\r\n"),
    ("chunks of no size", ["Transfer-Encoding: chunked"], b"xyz\r\n\r\n"),
]


@pytest.mark.parametrize(("lines", "body"), [case[1:] for case in FRAMING], ids=[case[0] for case in FRAMING])
def test_a_body_of_two_lengths_hides_no_second_request(lines: list[str], body: bytes, gate: Gate) -> None:
    # H8: whatever the framing, the smuggled request must not be answered with a yes of its own.
    for _ in range(2):
        first = request("/authz", *lines, method="POST", good=False)
        answers = gate.send_all(first + body + request())
        assert 200 not in [answer.status for answer in answers]


def test_a_flood_of_strange_keys_costs_the_good_token_nothing(gate: Gate) -> None:
    # K3: nothing is fetched, nothing pushed out.
    strange = token(header={"kid": "x"})
    head, rest = strange.split(b".", 1)
    with gate.connection() as link:
        for number in range(1000):
            link.sendall(
                request(
                    "/authz", b"Authorization: Bearer " + head + b"." + rest[: -1 - number % 7], good=False
                )
            )
            assert read(link).status == 401
        link.sendall(request())
        assert read(link).status == 200


def test_without_a_bundle_nobody_is_let_in_and_a_broken_one_keeps_the_last(tmp_path: Path) -> None:
    # P4: what is missing is never a yes, and what breaks later never an outage.
    with running_gate(tmp_path, None) as gate:
        assert (gate.send(request()).reason, gate.send(nginx(ALLOWED_PATH)).reason) == (
            "not_ready",
            "not_ready",
        )
        gate.bundle.write_bytes(bundle())
        deadline = time.monotonic() + 30
        while gate.send(request()).status != 200:
            assert time.monotonic() < deadline, gate.said.read_text()
            time.sleep(0.02)
        for broken in (
            b"",
            b"{}",
            bundle()[:-2],
            b"\x1f\x8b",
            bundle().replace(b"tuist-server", b"mallory-serv"),
        ):
            gate.bundle.write_bytes(broken)
            time.sleep(2 * POLL_SECONDS)  # a gate that would give up its bundle has done so by then
            assert [gate.send(request()).status for _ in range(5)] == [200] * 5
        gate.bundle.unlink()
        assert gate.send(request()).status == 200
