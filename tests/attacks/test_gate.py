# SPDX-License-Identifier: Apache-2.0
"""The attacks against a real gate over a socket: each cold, from the cache, and by the fast path."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.attacks import manifests
from testing.attacks.case import Case, ids
from testing.attacks.framing import BAD_CHUNKS, FRAMING, UPGRADES
from testing.attacks.gate_process import POLL_SECONDS, Gate, Response, read, running_gate
from testing.attacks.grants import GRANTS, PROJECT_PATH, ask
from testing.attacks.http_requests import ALLOWED_PATH, OPS, PROXIES, REQUESTS, SPELLINGS, nginx, request
from testing.attacks.queries import PATH as QUERY_PATH
from testing.attacks.queries import QUERY_REQUESTS
from testing.attacks.queries import lines as content_types
from testing.attacks.tokens_all import TOKENS
from testing.attacks.usage_bodies import USAGE_BODIES, post
from testing.attacks.world import FORMER_AUDIENCE, OWN_AUDIENCE, RULES, token
from watchword.identity import Reason
from watchword.trust import compile_resources, encode_bundle, parse_manifests

# Other bytes never reach the checks: HTTP or the header's own grammar refuses them first.
TOKEN_BYTES = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
HEADER_BYTES = 32 * 1024
# HTTP cannot say these: a CRLF behind a token ends its header and leaves a good request, white space behind a
# value is no part of it (RFC 9110, section 5.5), and Bearer with nothing behind it is a case of K5.
UNSAYABLE = ("signature: a line break behind", "signature: a space behind", "an empty token")
BY_HEADER = [case for case in TOKENS if case.name not in UNSAYABLE]
IDENTITY = (
    "subject",
    "issuer",
    "workload",
    "scopes",
    "accounts",
    "account",
    "project",
    "grants",
    "decision-id",
)


def bundle() -> bytes:
    read = parse_manifests([("world", manifests.text(*manifests.world()))])
    made = compile_resources(read.resources, audiences=RULES)
    return encode_bundle(made.bundles[0])


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    with running_gate(tmp_path_factory.mktemp("gate"), bundle()) as gate:
        yield gate
        # H10: with the audit log on and every level logged, no token and no signature was written anywhere.
        said = gate.said.read_bytes()
        assert token().rpartition(b".")[2] not in said
        assert b"eyJ" not in said


def answers_of(gate: Gate, whole: bytes) -> Iterator[Response]:
    """Its answers: cold, from the cache, and on a connection whose bytes the fast path has come to know."""
    for _ in range(2):
        yield gate.send(whole)
    with gate.connection() as link:
        for _ in range(3):
            link.sendall(request())
            assert read(link).status == 200
        for _ in range(3):
            link.sendall(whole)
            yield (answer := read(link))
            if answer.status == 0 or ("connection", "close") in answer.headers:
                break


def status_of(reason: str) -> int:
    return next((each.status for each in Reason if each.code == reason), 0) or int(reason)


@pytest.mark.parametrize("audience", [OWN_AUDIENCE, FORMER_AUDIENCE])
def test_the_derived_audience_that_others_look_like_is_accepted_cold_and_cached(
    gate: Gate, audience: str
) -> None:
    accepted = request("/authz", b"Authorization: Bearer " + token(aud=[audience]), good=False)
    assert [gate.send(accepted).status for _ in range(2)] == [200, 200]


@pytest.mark.parametrize("case", BY_HEADER, ids=ids(BY_HEADER))
def test_a_hostile_token_is_refused_cold_from_the_cache_and_by_known_bytes(
    case: Case[bytes], gate: Gate
) -> None:
    hostile = case.build()
    whole = request("/authz", b"Authorization: Bearer " + hostile, good=False)
    sent_as_is = not hostile.translate(None, TOKEN_BYTES)
    for answer in answers_of(gate, whole):
        if sent_as_is and len(hostile) <= HEADER_BYTES:
            assert (answer.status, answer.reason) == (status_of(case.reason), case.reason)
        else:
            assert answer.status in (0, 400, 401, 431)


HOSTILE = [*REQUESTS, *GRANTS, *USAGE_BODIES, *QUERY_REQUESTS]


@pytest.mark.parametrize("case", HOSTILE, ids=ids(HOSTILE))
def test_a_hostile_request_gets_its_answer_cold_from_the_cache_and_by_known_bytes(
    case: Case[bytes], gate: Gate
) -> None:
    for answer in answers_of(gate, case.build()):
        assert (answer.reason, answer.status) == (case.reason, status_of(case.reason))


@pytest.mark.parametrize("case", FRAMING, ids=ids(FRAMING))
def test_what_two_parsers_may_read_differently_is_refused_on_a_new_and_a_known_connection(
    case: Case[bytes], gate: Gate
) -> None:
    whole = case.build()
    assert [answer.status for answer in gate.send_all(whole)] == [400]
    # Behind a request that the gate remembers, so that the fast path has what it needs.
    assert [answer.status for answer in gate.send_all(request() + request() + whole)] == [200, 200, 400]
    with gate.connection() as link:
        for _ in range(3):
            link.sendall(request())
            assert read(link).status == 200
        link.sendall(whole)
        assert (answer := read(link)).reason == case.reason
        assert ("connection", "close") in answer.headers
        assert link.recv(65536) == b""


@pytest.mark.parametrize("case", UPGRADES, ids=ids(UPGRADES))
def test_an_upgrade_hides_no_request(case: Case[bytes], gate: Gate) -> None:
    whole = case.build()
    for _ in range(2):
        assert gate.send(whole).reason == case.reason
    for place in (len(whole) - 1, whole.index(b"\r\n\r\n") + 4):
        with gate.connection() as link:
            link.sendall(request())
            assert read(link).status == 200
            link.sendall(whole[:place])
            time.sleep(0.01)
            link.sendall(whole[place:] + request("/authz", "Connection: close", good=False))
            answers = b"".join(iter(lambda: link.recv(65536), b""))
            wanted = 1 if "close" in case.name else 2
            assert (answers.count(b"HTTP/1.1 401 "), answers.count(b"HTTP/1.1 ")) == (wanted, wanted)


@pytest.mark.parametrize("case", OPS, ids=ids(OPS))
def test_the_ops_port_opens_no_other_door(case: Case[bytes], gate: Gate) -> None:
    assert gate.send(case.build(), ops=True).status == 404


@pytest.mark.parametrize("proxy", PROXIES)
def test_the_request_that_the_attacks_change_is_allowed(proxy: str, gate: Gate) -> None:
    assert gate.send(PROXIES[proxy](ALLOWED_PATH)).status == 200


@pytest.mark.parametrize("proxy", PROXIES)
@pytest.mark.parametrize(
    "path", ["/site/files/acme/a", "/site/users/bob", "/site/else", "/site/Admins", "/site/users"]
)
def test_a_catch_all_takes_what_resembles_no_earlier_route(path: str, proxy: str, gate: Gate) -> None:
    assert gate.send(PROXIES[proxy](path)).status == 200


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_query_is_decided_on_where_no_reader_could_find_another(proxy: str, gate: Gate) -> None:
    for method, types in (("GET", ()), ("POST", ("application/json",)), ("DELETE", ("image/png",))):
        for _ in range(2):
            answer = gate.send(PROXIES[proxy](QUERY_PATH, method, *content_types(*types)))
            assert (answer.status, dict(answer.headers).get("x-watchword-account")) == (200, "acme")


@pytest.mark.parametrize("proxy", PROXIES)
def test_a_project_that_was_granted_is_let_in_and_named(proxy: str, gate: Gate) -> None:
    for _ in range(2):
        answer = gate.send(ask(PROJECT_PATH, proxy))
        headers = dict(answer.headers)
        assert (answer.status, headers["x-watchword-account"], headers["x-watchword-project"]) == (
            200,
            "acme",
            "ios",
        )


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


def test_one_tenant_cannot_use_up_the_ids_of_another(gate: Gate) -> None:
    # U3: the first tenant's events took the keys that the second one's needed.
    ids = [f"invoice-{number}" for number in range(20)]

    def sent(account: str) -> list[str]:
        events = [
            {"specversion": "1.0", "id": name, "source": "/billing", "type": "t", "subject": account}
            for name in ids
        ]
        answer = gate.send(post(json.dumps(events).encode()))
        assert answer.status == 200
        return [each["outcome"] for each in json.loads(answer.body)["results"]]

    assert sent("prj_a") == ["stored"] * 20
    assert sent("acme") == ["stored"] * 20
    assert sent("acme") == sent("prj_a") == ["duplicate"] * 20


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
    *BAD_CHUNKS,
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
