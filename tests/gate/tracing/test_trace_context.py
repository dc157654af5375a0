# SPDX-License-Identifier: Apache-2.0
"""`traceparent` and `tracestate` as strangers send them: what is well-formed is read, all else ignored."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from watchword.gate.tracing.trace_context import MAX_MEMBERS, MAX_STATE_BYTES, read_trace_parent

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GOOD = f"00-{TRACE}-{SPAN}-01".encode()


def read(*parents: bytes, states: tuple[bytes, ...] = ()) -> tuple[str, str, bytes] | None:
    headers = [(b"traceparent", each) for each in parents] + [(b"tracestate", each) for each in states]
    found = read_trace_parent([(b"host", b"gate"), *headers])
    return None if found is None else (found.trace_id, found.span_id, found.state)


@pytest.mark.parametrize(
    "value",
    [
        GOOD,
        f"00-{TRACE}-{SPAN}-00".encode(),
        f"00-{TRACE}-{SPAN}-ff".encode(),
        # A later version, as far as this one knows it (section 4.3).
        f"cc-{TRACE}-{SPAN}-01".encode(),
        f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like".encode(),
    ],
)
def test_what_is_well_formed_is_read(value: bytes) -> None:
    assert read(value) == (TRACE, SPAN, b"")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"00",
        GOOD[:-1],
        GOOD + b"0",
        GOOD + b"-",
        GOOD + b"-more",
        GOOD + b"\n",
        b" " + GOOD,
        GOOD.upper(),
        GOOD.replace(b"-", b"_"),
        f"ff-{TRACE}-{SPAN}-01".encode(),
        f"cc-{TRACE}-{SPAN}-01.more".encode(),
        f"00-{'0' * 32}-{SPAN}-01".encode(),
        f"00-{TRACE}-{'0' * 16}-01".encode(),
        f"00-{TRACE[:-1]}g-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}-0g".encode(),
        f"0-{TRACE}-{SPAN}-01".encode(),
        f"00-{TRACE}-{SPAN}".encode(),
        # Digits, and hexadecimal ones, in another script.
        f"00-{TRACE[:-1]}\u0663-{SPAN}-01".encode(),
        GOOD + b"," + GOOD,
        b"cc" + GOOD[2:] + b"-" + b"x" * 100_000,
        b"0" * 1_000_000,
    ],
)
def test_what_is_malformed_is_not_there(value: bytes) -> None:
    assert read(value) is None
    assert read(value, states=(b"a=b",)) is None


def test_two_of_them_are_none() -> None:
    assert read(GOOD, GOOD) is None
    assert read() is None
    assert read(states=(b"a=b",)) is None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ((b"a=b",), b"a=b"),
        ((b"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7",), b"congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        # Several headers are one list, in their order.
        ((b"a=1", b"b=2,c=3"), b"a=1,b=2,c=3"),
        ((b"a=1 , \tb=2",), b"a=1,b=2"),
        ((b"a=1,,b=2,",), b"a=1,b=2"),
        ((b"tenant@vendor=v",), b"tenant@vendor=v"),
        ((b"0tenant@vendor=v",), b"0tenant@vendor=v"),
        ((b"a= x y",), b"a= x y"),
        ((b"a=" + b"v" * 256,), b"a=" + b"v" * 256),
    ],
)
def test_a_state_that_is_well_formed_is_passed_on(values: tuple[bytes, ...], expected: bytes) -> None:
    assert read(GOOD, states=values) == (TRACE, SPAN, expected)


@pytest.mark.parametrize(
    "values",
    [
        (b"a",),
        (b"a=",),
        (b"=b",),
        (b"A=b",),
        (b"a=b=c",),
        (b"a=\x01",),
        (b"a=\xc3\xa9",),
        (b"a=b\r\nX-Watchword-Subject: system:serviceaccount:kube-system:admin",),
        (b"a=1,a=2",),
        (b"a=1", b"a=2"),
        (b"a=1,b",),
        (b"0a=b",),
        (b"a@b@c=d",),
        (b"a" * 257 + b"=b",),
        (b"a=" + b"v" * 257,),
        (b",".join(b"a%d=b" % number for number in range(MAX_MEMBERS + 1)),),
        (b"a=" + b"b" * 200 + b" " * MAX_STATE_BYTES,),
        (b"x" * 10_000_000,),
    ],
)
def test_one_flaw_drops_the_whole_state_and_not_the_trace(values: tuple[bytes, ...]) -> None:
    assert read(GOOD, states=values) == (TRACE, SPAN, b"")


def test_32_members_pass() -> None:
    state = b",".join(b"a%d=b" % number for number in range(MAX_MEMBERS))
    assert read(GOOD, states=(state,)) == (TRACE, SPAN, state)


@settings(deadline=None)
@given(st.binary(max_size=80) | st.text("0123456789abcdef-Ff ", max_size=60).map(str.encode))
def test_nothing_is_read_that_opentelemetry_does_not_read(value: bytes) -> None:
    ours = read(value)
    text = value.decode("latin-1")
    theirs = TraceContextTextMapPropagator().extract({"traceparent": text})
    if ours is not None:
        [span] = theirs.values()
        context = span.get_span_context()  # type: ignore[attr-defined]  # the context holds a span
        assert (f"{context.trace_id:032x}", f"{context.span_id:016x}") == ours[:2]


@settings(deadline=None)
@given(st.text("ab@=,0 _\t", max_size=60))
def test_what_is_passed_on_reads_the_same_again(state: str) -> None:
    found = read(GOOD, states=(state.encode(),))
    assert found is not None
    assert read(GOOD, states=(found[2],)) == found
    assert re.fullmatch(rb"[\x20-\x7e]*", found[2])
