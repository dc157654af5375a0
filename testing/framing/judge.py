# SPDX-License-Identifier: Apache-2.0
"""Whether a gate, its app and h11 agree on one stream: how many requests, whose, and with which bytes.

Refusing is always allowed where there is doubt; passing on what the strict parser does not see never is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import h11

from testing.framing.recorder import SERIAL
from testing.framing.streams import Stream
from testing.framing.strict import Answer, Request, answers, requests

# What the gate says by itself.
SET_BY_GATE = ("x-watchword-", "x-forwarded-")
FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"upgrade", b"host"})


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one stream led to.

    Attributes:
        faults: where the three disagree; sentences.
        passed: the requests that reached the app.
        seen: how many requests h11 sees in the stream.
        refused: how many answers were the gate's own.
    """

    faults: list[str]
    passed: list[Request]
    seen: int
    refused: int


def judge(
    stream: Stream, reached: Mapping[int, Request], came_back: bytes, subjects: Mapping[bytes, bytes]
) -> Outcome:
    """Compare a stream, what reached the app by number, and what came back to the caller.

    Args:
        stream: what the caller sent.
        reached: the requests that the app got meanwhile.
        came_back: all bytes that the caller got.
        subjects: the identity that belongs to each Authorization header's value.
    """
    wanted = requests(stream.whole)
    faults: list[str] = []
    try:
        given, rest = answers(came_back, [each.method for each in wanted])
    except h11.RemoteProtocolError as problem:
        return Outcome(
            [f"what came back is no HTTP: {problem}: {came_back[:300]!r}"], [*reached.values()], 0, 0
        )
    unanswered = dict(reached)
    last = -1
    for place, answer in enumerate(given):
        serial = answer.value(SERIAL)
        if not serial:
            continue
        number = int(serial)
        if number not in unanswered:
            faults.append(f"answer {place} is that of request {number} of the app, another stream's or used")
            continue
        if number <= last:
            faults.append(f"answer {place} came out of turn")
        last = number
        request = unanswered.pop(number)
        if place >= len(wanted):
            faults.append(f"the app got {_shown(request)}; h11 sees {len(wanted)} requests in the stream")
            continue
        faults += _differences(wanted[place], request, subjects, answer, rest)
    for request in unanswered.values():
        # It was on its way when the connection ended: the next one, or the one whose end was refused.
        places = [len(given)] if not given or given[-1].value(SERIAL) else [len(given) - 1, len(given)]
        possible = [
            _differences(wanted[each], request, subjects, None, b"") for each in places if each < len(wanted)
        ]
        if not possible:
            faults.append(f"the app got {_shown(request)}; h11 sees {len(wanted)} requests in the stream")
        elif all(possible):
            faults += possible[0]
    if len(unanswered) > 1:
        faults.append(f"{len(unanswered)} requests of one connection were under way at once")
    if len(given) > len(wanted) + 1 or (
        len(given) > len(wanted) and given[-1].status not in {400, 408, 413, 431, 501, 505}
    ):
        faults.append(f"{len(given)} answers ({[each.status for each in given]}) to {len(wanted)} requests")
    is_tunnel = any(each.status == 101 for each in given)
    # A connection may end after an answer that says so, such as an early one or one to a WebSocket.
    is_cut = is_tunnel or any(b"close" in each.value(b"connection").lower() for each in given)
    if stream.is_plain and not is_cut:
        complete = [each for each in wanted if each.is_whole]
        # An app may answer early, and a WebSocket's caller that says much before the answer is hung up on.
        is_early = any(b"/early" in each.target or b"/ws" in each.target for each in complete)
        if len(given) < len(complete) and not is_early:
            faults.append(f"{len(given)} answers to {len(complete)} requests beyond doubt: {came_back!r}")
        for place, answer in enumerate(given[: len(complete)]):
            if not answer.value(SERIAL) and not is_early:
                faults.append(
                    f"request {place} is beyond doubt and got {answer.status} {answer.body[:200]!r}"
                )
    return Outcome(faults, [*reached.values()], len(wanted), sum(not each.value(SERIAL) for each in given))


def _shown(request: Request) -> str:
    return f"{request.method!r} {request.target!r} with {len(request.body)} bytes"


def _differences(
    wanted: Request, got: Request, subjects: Mapping[bytes, bytes], answer: Answer | None, back: bytes
) -> list[str]:
    faults: list[str] = []
    if (wanted.method, wanted.target) != (got.method, got.target):
        faults.append(f"the app got {_shown(got)} where h11 sees {_shown(wanted)}")
        return faults
    if answer is not None and answer.status == 101:
        if wanted.body or got.body:
            faults.append("a tunnel was opened by a request with a body")
        if wanted.rest is None or not wanted.rest.startswith(got.rest or b""):
            faults.append(f"the tunnel carried {got.rest!r} where the stream goes on with {wanted.rest!r}")
    elif got.is_whole and wanted.body != got.body:
        faults.append(f"the app got another body: {bytes(got.body[:200])!r} for {bytes(wanted.body[:200])!r}")
    elif got.is_whole and not wanted.is_whole:
        faults.append("the app got a whole request where h11 sees a part of one")
    elif not wanted.body.startswith(bytes(got.body)):
        faults.append(
            f"the app got the part {bytes(got.body[:200])!r} of the body {bytes(wanted.body[:200])!r}"
        )
    credentials = [_credential(each) for each in wanted.values(b"authorization")]
    subject = got.values(b"x-watchword-subject")
    if [subjects.get(each) for each in credentials] != subject:
        faults.append(
            f"the app was told {subject} for the credentials of {[subjects.get(e) for e in credentials]}"
        )
    if got.values(b"authorization"):
        faults.append("the app got a token")
    faults += _headers(wanted, got)
    return faults


def _credential(value: bytes) -> bytes:
    # A scheme's case says nothing (RFC 9110, section 11.1).
    scheme, space, token = value.partition(b" ")
    return (b"Bearer" if scheme.lower() == b"bearer" else scheme) + space + token.strip()


def _headers(wanted: Request, got: Request) -> list[str]:
    faults: list[str] = []
    left = list(wanted.headers)
    for name, value in got.headers:
        if name.decode("latin-1").startswith(SET_BY_GATE) or name in FRAMING:
            continue
        if (name, value) in left:
            # In the caller's order: none twice, none moved before another.
            left = left[left.index((name, value)) + 1 :]
        else:
            faults.append(f"the app got the header {name!r}: {value!r}, which the caller did not send there")
    named = {each.strip().lower() for value in wanted.values(b"connection") for each in value.split(b",")}
    for name, value in wanted.headers:
        if name.startswith(b"x-keep-") and name not in named and (name, value) not in got.headers:
            faults.append(f"the header {name!r} was lost")
    # HTTP/1.0 needs no Host, and the app then gets its own.
    if wanted.values(b"host") and got.values(b"host") != wanted.values(b"host"):
        faults.append(f"the app got Host {got.values(b'host')} for {wanted.values(b'host')}")
    if got.values(b"upgrade") not in ([], [b"websocket"]):
        faults.append(f"an upgrade to {got.values(b'upgrade')} was passed on")
    return faults
