# SPDX-License-Identifier: Apache-2.0
"""One gate and one app, streams one after the other, each followed by a fence: what the app gets is its own.

Between two streams a request of another caller passes on another connection: once it is answered, nothing of
the stream before is under way any more, and nothing of it may have got the other caller's words.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import h11

from testing import gate_process, tokens
from testing.framing.judge import Outcome, judge
from testing.framing.recorder import Recorder, recording
from testing.framing.streams import Stream, make
from testing.framing.strict import Request, answers, requests
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload

PATIENCE_SECONDS = 10
DOUBT_SECONDS = 0.1
METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]
ROUTES = [{"path": "/app/{account}/{name}", "methods": METHODS, "scope": "app:use"}]
GRANTS = [{"scopes": ["app:use"], "accounts": ["acme"]}]
CALLERS = ("first", "second", "fence")


@dataclass(slots=True)
class Tally:
    """What a run came to."""

    streams: int = 0
    requests: int = 0
    passed: int = 0
    refused: int = 0
    faults: list[tuple[str, list[str]]] = field(default_factory=list)


@dataclass(slots=True)
class Lab:
    """A gate, its app, and the callers it knows."""

    gate: Gate
    app: Recorder
    credentials: Sequence[bytes]
    subjects: Mapping[bytes, bytes]
    _fence: socket.socket | None = None
    _fences: int = 0

    def try_stream(self, stream: Stream) -> Outcome:
        """Send one stream, and judge what became of it."""
        before, faults_before = len(self.app.seen), len(self.app.faults)
        wanted = requests(stream.whole)
        fences: list[int] = []
        came = bytearray()
        with self._connect() as link:
            with suppress(ConnectionError):
                for place, part in enumerate(stream.parts):
                    if place:
                        # So that the gate reads the parts apart, most of the time.
                        time.sleep(0.0005)
                    link.sendall(part)
            # Where the gate may wait for more, it is given little time; where all is there, a lot.
            _read_answers(link, came, wanted, PATIENCE_SECONDS if stream.is_plain else DOUBT_SECONDS)
            # A request that hides behind the last one gets as far as the app before the connection ends.
            fences.append(self._pass_fence())
            self.app.settle()
            with suppress(OSError):
                link.shutdown(socket.SHUT_WR)
                link.settimeout(PATIENCE_SECONDS)
                while data := link.recv(65536):
                    came += data
        fences.append(self._pass_fence())
        self.app.settle()
        reached = {
            number: self.app.seen[number]
            for number in range(before, len(self.app.seen))
            if number not in fences
        }
        outcome = judge(stream, reached, bytes(came), self.subjects)
        outcome.faults.extend(self.app.faults[faults_before:])
        if b"fence-" in came or any(b"fence-" in repr(each).encode() for each in reached.values()):
            outcome.faults.append("another caller's words reached this stream")
        return outcome

    def audited(self) -> dict[str, dict[str, str]]:
        """The audit log so far, by decision."""
        found = {}
        for line in self.gate.log.read_bytes().splitlines():
            with suppress(ValueError):
                entry = json.loads(line)
                if isinstance(entry, dict) and "decision_id" in entry and "outcome" in entry:
                    found[entry["decision_id"]] = entry
        return found

    def judge_audit(self, since: int) -> list[str]:
        """Compare what the app got, from a number on, with what the audit log says was decided."""
        wanted = self.app.seen[since:]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            audited = self.audited()
            ids = [b"".join(each.values(b"x-watchword-decision-id")).decode() for each in wanted]
            missing = [each for each in ids if each not in audited]
            if not missing or time.monotonic() > deadline:
                break
            time.sleep(0.1)
        faults = [f"the app got a request of decision {each!r}, which was not audited" for each in missing]
        if len(set(ids)) != len(ids):
            faults.append("two requests of the app bear one decision")
        for request, name in zip(wanted, ids, strict=True):
            entry = audited.get(name, {})
            said = (entry.get("outcome"), entry.get("method"), entry.get("account"))
            if name in audited and said != ("allowed", request.method.decode(), "acme"):
                faults.append(f"the app got {request.method!r} {request.target!r}, and decided was {said}")
        return faults

    def close(self) -> None:
        """Close the other caller's connection."""
        if self._fence is not None:
            self._fence.close()
            self._fence = None

    def _connect(self) -> socket.socket:
        host, port = self.gate.address.rsplit(":", 1)
        link = socket.create_connection((host, int(port)), PATIENCE_SECONDS)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return link

    def _pass_fence(self) -> int:
        name = b"fence-%d" % self._fences
        self._fences += 1
        ask = b"\r\n".join([b"GET /app/acme/%s HTTP/1.1" % name, b"Host: gate", _line("fence"), b"", b""])
        for _ in range(2):
            if self._fence is None:
                self._fence = self._connect()
            came = b""
            with suppress(ConnectionError):
                self._fence.sendall(ask)
                while not _is_whole(came) and (data := self._fence.recv(65536)):
                    came += data
            if came:
                break
            self._fence.close()
            self._fence = None
        [answer], _ = answers(came, [b"GET"])
        number = int(answer.value(b"x-app-serial"))
        assert self.app.seen[number].target == b"/app/acme/" + name, "the fence got another answer"
        return number


def _read_answers(link: socket.socket, came: bytearray, wanted: Sequence[Request], seconds: float) -> None:
    """Read until each whole request has its answer, the connection ended, or nothing came for so long."""
    methods = [each.method for each in wanted]
    whole = sum(each.is_whole for each in wanted)
    link.settimeout(seconds if whole else DOUBT_SECONDS)
    with suppress(ConnectionError, TimeoutError):
        while True:
            try:
                given, _ = answers(bytes(came), methods, is_over=False)
            except h11.RemoteProtocolError:
                return
            if any(each.status == 101 for each in given) or (
                whole and sum(each.is_whole for each in given) >= whole
            ):
                return
            if not (data := link.recv(65536)):
                return
            came += data


def _is_whole(came: bytes) -> bool:
    given, _ = answers(came, [b"GET"], is_over=False)
    return any(each.is_whole for each in given)


@contextmanager
def lab(folder: Path, python: str | None = None) -> Iterator[Lab]:
    """Start both; `python` is that of another installation of the gate, such as an older one.

    Where it is not given, the environment variable WATCHWORD_GATE_PYTHON may name it.
    """
    python = python or os.environ.get("WATCHWORD_GATE_PYTHON")
    objects = [issuer(), service(routes=ROUTES)]
    objects += [
        workload(name=name, serviceAccount={"namespace": "apps", "name": name}, grants=GRANTS)
        for name in CALLERS
    ]
    bundle = write_bundle(folder / "bundle.json", *objects)
    before = gate_process._COMMAND
    if python is not None:
        gate_process._COMMAND = (python, *before[1:])
    try:
        with recording() as app, running_gate(bundle, "--upstream", app.url, "--audit", "all") as gate:
            lines = [_line(each) for each in CALLERS[:2]]
            subjects = {
                line.partition(b": ")[2]: f"system:serviceaccount:apps:{name}".encode()
                for line, name in zip(lines, CALLERS, strict=False)
            }
            place = Lab(gate, app, lines, subjects)
            try:
                yield place
            finally:
                place.close()
    finally:
        gate_process._COMMAND = before


_lines: dict[str, bytes] = {}


def _line(name: str) -> bytes:
    if name not in _lines:
        now = int(time.time())
        _lines[name] = b"Authorization: Bearer " + tokens.token(
            iat=now - 60,
            nbf=now - 60,
            exp=now + 3500,
            sub=f"system:serviceaccount:apps:{name}",
            **{
                "kubernetes.io": tokens.kubernetes(
                    namespace="apps", serviceaccount={"name": name, "uid": name}
                )
            },
        )
    return _lines[name]


def fuzz(
    place: Lab,
    seed: int,
    numbers: Iterator[int],
    *,
    max_faults: int = 10,
    say: Callable[[str, list[str]], None] = print,
) -> Tally:
    """Try the streams of these numbers, and stop at so many that fail."""
    tally = Tally()
    audited = 0
    for number in numbers:
        name = f"{seed}:{number}"
        outcome = place.try_stream(make(name, place.credentials))
        tally.streams += 1
        tally.requests += outcome.seen
        tally.passed += len(outcome.passed)
        tally.refused += outcome.refused
        if outcome.faults:
            tally.faults.append((name, outcome.faults))
            say(name, outcome.faults)
            if len(tally.faults) >= max_faults:
                break
    faults = place.judge_audit(audited)
    if faults:
        tally.faults.append((f"{seed}:audit", faults))
        say(f"{seed}:audit", faults)
    return tally
