# SPDX-License-Identifier: Apache-2.0
"""What each refusal says, by a real gate and by `verify`, word for word; and that doing so helps.

The golden file is for reading: as someone who has read nothing else.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import textwrap
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from testing.gate_process import Gate, running_gate
from testing.refusals import Ask, World, cases
from testing.tokens import NOW
from tests.cli.conftest import Work
from tests.cli.golden import hold
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Allowed
from watchword.identity import Reason
from watchword.trust import encode_bundle, load

_CLOCKED = re.compile(r"\d+ s (ago \([^)]*\)|ahead)")


def readable(text: str, width: int = 100) -> str:
    """Text without what the clock decides, wrapped for reading."""
    text = _CLOCKED.sub(lambda found: "N s ahead" if found[1] == "ahead" else "N s ago (TIME)", text)
    return textwrap.fill(
        text, width, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )


def send(gate: Gate, ask: Ask) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Status, headers and problem. By http.client, which sends an empty token as it is."""
    value, answers = ask.header(), []
    connection = http.client.HTTPConnection(gate.address, timeout=30.0)
    with contextlib.closing(connection):
        for _ in range(ask.before + 1):
            connection.putrequest("GET", "/authz/nginx")
            connection.putheader("X-Original-Method", ask.method)
            connection.putheader("X-Original-URI", ask.path)
            if value is not None:
                connection.putheader("Authorization", value)
            connection.endheaders()
            answer = connection.getresponse()
            answers.append((answer.status, dict(answer.headers), json.loads(answer.read() or b"{}")))
    assert all(each[0] == 200 for each in answers[:-1])
    return answers[-1]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    path = tmp_path_factory.mktemp("gate") / "bundle.json"
    path.write_bytes(encode_bundle(World().bundle()))
    with ExitStack() as stack:
        yield stack.enter_context(running_gate(path))


def said_by_verify(work: Work, ask: Ask, problem: dict[str, str]) -> list[str]:
    """What `verify` adds to what the gate said, for the same token and request."""
    assert ask.token is not None
    command = ("verify", "--bundle", "{work}/world.json", "--method", ask.method, "--path", ask.path)
    done = work.run(*command, stdin=ask.token)
    assert done.exit_code == 1
    verdict = done.stdout[done.stdout.index("Refused: ") :].rstrip("\n").split("\n")
    expected = [
        f"Refused: {problem['reason']} (HTTP {problem['status']})",
        f"  {problem['detail']}",
        f"  Remedy: {problem['remedy']}",
    ]
    assert [_CLOCKED.sub("", each) for each in verdict[:3]] == [_CLOCKED.sub("", each) for each in expected]
    return [readable(each) if each.startswith("  Note") else each for each in verdict[3:]]


def test_each_refusal_stays_as_reviewed_and_verify_says_the_same(
    work: Work, gate: Gate, tmp_path: Path
) -> None:
    work.write("world.json", encode_bundle(World().bundle()))
    lines = ["What the gate answers, and what `watchword verify` adds to it.", ""]
    for case in cases(time.time()):
        status, headers, problem = send(gate, case.ask)
        assert (headers["x-watchword-reason"], problem["reason"]) == (case.reason, case.reason), case
        assert len(headers.get("www-authenticate", "")) < 1024
        lines += [f"## {case.name}: {status} {case.reason}", ""]
        lines += [readable(problem["detail"]), readable(f"Remedy: {problem['remedy']}")]
        if case.ask.token is not None and case.reason != "rate_limited":
            added = said_by_verify(work, case.ask, problem)
            lines += ["verify adds:", *added] if added else []
        lines.append("")
    with running_gate(tmp_path / "absent.json", is_ready_required=False) as empty:
        problem = send(empty, cases(0)[0].ask)[2]
    assert problem["reason"] == "not_ready"
    lines += ["## no bundle: 503 not_ready", "", readable(problem["detail"].replace(str(tmp_path), "DIR"))]
    lines += [readable(f"Remedy: {problem['remedy']}".replace(str(tmp_path), "DIR")), ""]
    hold("refusals", "\n".join(lines))


# Of desk tokens alone: tests/gate/test_desk_tokens.py.
OF_THE_DESK = {
    "origin_key_unknown",
    "wrong_token_kind",
    "wrong_purpose",
    "not_in_token",
    "revocations_unknown",
}


def test_there_is_a_case_for_each_reason() -> None:
    assert {case.reason for case in cases(0)} | {"not_ready"} == {each.code for each in Reason} - OF_THE_DESK


def is_let_in(world: World, ask: Ask) -> bool:
    engine = Engine(GateMetrics(), clock=lambda: NOW)
    engine.adopt(load(world.bundle()))
    value = ask.header()
    headers = [] if value is None else [(b"authorization", value)]
    authz_request = AuthzRequest(find_credential(headers), OriginalRequest(ask.method, ask.path.encode()))
    return [isinstance(engine.decide(authz_request), Allowed) for _ in range(ask.before + 1)][-1]


@pytest.mark.parametrize("name", [case.name for case in cases(0)])
def test_who_does_what_the_refusal_says_is_let_in(name: str) -> None:
    [case] = [each for each in cases(NOW) if each.name == name]
    assert not is_let_in(World(), case.ask)
    world = World() if case.edit is None else case.edit(World())
    assert is_let_in(world, case.fixed or replace(case.ask, before=0))
