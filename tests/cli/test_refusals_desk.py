# SPDX-License-Identifier: Apache-2.0
"""What each refusal of a desk token says, by a real gate and by `verify`; and that doing so helps."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from testing.gate_process import running_gate
from testing.refusals import Ask
from testing.refusals_desk import bundle, desk_cases
from testing.tokens import NOW
from tests.cli.conftest import Work
from tests.cli.golden import hold
from tests.cli.test_refusals import OF_THE_DESK, readable, said_by_verify, send
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.engine import Engine
from watchword.gate.metrics import GateMetrics
from watchword.gate.original_request import OriginalRequest
from watchword.gate.responses import Allowed
from watchword.identity import Reason
from watchword.trust import Bundle, encode_bundle, load


def test_each_refusal_of_a_desk_token_stays_as_reviewed(work: Work, tmp_path: Path) -> None:
    lines = ["What the gate answers to desk tokens, and what `watchword verify` adds to it.", ""]
    for place, case in enumerate(desk_cases(time.time())):
        encoded = encode_bundle(bundle(*case.objects))
        work.write("world.json", encoded)
        path = tmp_path / f"{place}.json"
        path.write_bytes(encoded)
        ask = Ask(case.token, path=case.path)
        with running_gate(path) as gate:
            status, headers, problem = send(gate, ask)
        assert (headers["x-watchword-reason"], problem["reason"]) == (case.reason, case.reason), case
        lines += [f"## {case.name}: {status} {case.reason}", ""]
        lines += [readable(problem["detail"]), readable(f"Remedy: {problem['remedy']}")]
        added = said_by_verify(work, ask, problem)
        lines += ["verify adds:", *added] if added else []
        lines.append("")
    hold("refusals-desk", "\n".join(lines))


def test_there_is_a_case_for_each_reason_of_the_desk() -> None:
    # A gate without a watch never waits for revocations: tests/gate/test_desk_tokens.py.
    known = {case.reason for case in desk_cases(0)}
    assert OF_THE_DESK - known == {Reason.REVOCATIONS_UNKNOWN.code}


def is_let_in(found: Bundle, token: bytes, path: str) -> bool:
    engine = Engine(GateMetrics(), clock=lambda: NOW)
    engine.adopt(load(found))
    credential = find_credential([(b"authorization", b"Bearer " + token)])
    return isinstance(engine.decide(AuthzRequest(credential, OriginalRequest("GET", path.encode()))), Allowed)


@pytest.mark.parametrize("case", desk_cases(NOW), ids=str)
def test_who_does_what_the_refusal_says_is_let_in(case: object) -> None:
    [found] = [each for each in desk_cases(NOW) if each.name == str(case)]
    world = bundle(*found.objects)
    assert not is_let_in(world, found.token, found.path)
    assert is_let_in(world, found.fixed or found.token, found.path)
