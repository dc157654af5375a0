# SPDX-License-Identifier: Apache-2.0
"""The pure parts: bytes to answers, pieces to lines, failures to waits, URLs to addresses."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.kube.watch import Backoff, Endpoint, Resource, in_cluster
from watchword.kube.watch.answer import MAX_HEAD_BYTES, AnswerParser, LineSplitter
from watchword.kube.watch.backoff import MOST_ASKED_SECONDS
from watchword.kube.watch.endpoint import Access, Address
from watchword.kube.watch.messages import MAX_MESSAGE_CHARACTERS, read_status
from watchword.kube.watch.problems import WatchError

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    ends = sorted({place % (len(data) + 1) for place in places} | {len(data)})
    return [data[start:end] for start, end in zip([0, *ends], ends, strict=False) if data[start:end]]


def parsed(pieces: list[bytes]) -> tuple[int, bytes, bool]:
    parser, body = AnswerParser(), b""
    for piece in pieces:
        parser.feed(piece)
        body += b"".join(parser.body())
    return parser.status, body, parser.is_complete


@given(
    st.lists(st.binary(min_size=1, max_size=300), max_size=8), st.lists(st.integers(0, 5_000), max_size=12)
)
def test_an_answer_is_the_same_however_it_was_cut(bodies: list[bytes], places: list[int]) -> None:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in bodies)
    whole = CHUNKED + chunks + b"0\r\n\r\n"
    assert parsed(cut(whole, places)) == (200, b"".join(bodies), True)


@given(st.binary(max_size=2_000), st.booleans())
def test_no_bytes_break_the_parser(data: bytes, is_after_a_head: bool) -> None:
    with contextlib.suppress(WatchError):
        parsed([CHUNKED, data] if is_after_a_head else [data])


ENDLESS = {
    "a status line": (b"HTTP/1.1 200 ", b"a" * 1024),
    "a header": (b"HTTP/1.1 200 OK\r\nX-A: ", b"a" * 1024),
    "a header's name": (b"HTTP/1.1 200 OK\r\n", b"a" * 1024),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 100),
    "interim answers": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 40),
    "a chunk's extension": (CHUNKED + b"3;", b"a" * 1024),
    "a trailer": (CHUNKED + b"3\r\nabc\r\n0\r\nX-T: ", b"a" * 1024),
    "trailers": (CHUNKED + b"0\r\n", b"X-T: a\r\n" * 100),
}


@pytest.mark.parametrize(("start", "more"), ENDLESS.values(), ids=ENDLESS)
def test_nothing_endless_around_a_body_is_kept(start: bytes, more: bytes) -> None:
    parser = AnswerParser()
    with pytest.raises(WatchError) as raised:  # noqa: PT012 - which piece is one too many depends on the case
        parser.feed(start or more)
        for _ in range(10 * MAX_HEAD_BYTES // len(more)):
            parser.feed(more)
            parser.body()
    assert raised.value.problem.kind in {"too_large", "malformed"}


WRONG = {
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "a length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a switch of protocol": b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "a second answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "an encoding": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\na",
    "a chunk without a size": CHUNKED + b"\r\n",
    "a chunk that is longer than said": CHUNKED + b"1\r\nabc\r\n",
}


@pytest.mark.parametrize("data", WRONG.values(), ids=WRONG)
def test_what_could_be_read_two_ways_is_no_answer(data: bytes) -> None:
    with pytest.raises(WatchError) as raised:
        parsed([data])
    assert raised.value.problem.kind == "malformed"


def test_bytes_after_the_end_are_no_answer() -> None:
    parser = AnswerParser()
    parser.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    with pytest.raises(WatchError, match="after the end"):
        parser.feed(b"x")


def test_an_interim_answer_is_not_taken_for_the_answer() -> None:
    parser = AnswerParser()
    parser.feed(b"HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n")
    assert parser.status == 0
    parser.feed(b"HTTP/1.1 429 Too Many\r\nretry-AFTER: 3\r\nContent-Length: 2\r\n\r\nno")
    assert (parser.status, parser.header(b"retry-after"), parser.is_complete) == (429, b"3", True)


def test_httptools_still_says_which_error_stopped_it() -> None:
    # The bound is told to the user through the context of httptools' own error.
    class Refusing:
        def on_header(self, name: bytes, value: bytes) -> None:
            raise LookupError

    with pytest.raises(httptools.HttpParserError) as raised:
        httptools.HttpResponseParser(Refusing()).feed_data(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n")
    assert isinstance(raised.value.__context__, LookupError)


@given(st.lists(st.binary(max_size=50).filter(lambda each: b"\n" not in each)), st.lists(st.integers(0, 999)))
def test_lines_are_the_same_however_they_were_cut(lines: list[bytes], places: list[int]) -> None:
    splitter = LineSplitter()
    found = [
        line
        for piece in cut(b"".join(b"%s\n" % line for line in lines), places)
        for line in splitter.feed(piece)
    ]
    assert found == [line for line in lines if line.strip()]


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_line_that_is_too_long_is_refused_with_or_without_an_end(size: int, piece: int) -> None:
    for end in (b"", b"\n", b"\nshort\n"):
        splitter, data = LineSplitter(max_bytes=20), b"x" * size + end
        pieces = [data[start : start + piece] for start in range(0, len(data), piece)]
        if size <= 20:
            for each in pieces:
                splitter.feed(each)
        else:
            with pytest.raises(WatchError):
                _ = [splitter.feed(each) for each in pieces]


def test_waits_double_up_to_a_bound_and_are_never_in_step() -> None:
    many = [Backoff(1.0, 8.0, random.Random(seed)) for seed in range(50)]
    for longest in (1.0, 2.0, 4.0, 8.0, 8.0, 8.0):
        waits = [each.next() for each in many]
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(set(waits)) == len(waits)
    many[0].reset()
    assert many[0].next() <= 1.0


@given(st.integers(0, 10**9), st.floats(0, 10**9), st.integers(0, 10**6))
def test_a_wait_is_what_the_server_asked_for_within_reason(seed: int, asked: float, failures: int) -> None:
    backoff = Backoff(1.0, 8.0, random.Random(seed))
    backoff._failures = failures
    wait = backoff.next(asked)
    assert min(asked, MOST_ASKED_SECONDS) <= wait <= MOST_ASKED_SECONDS * 1.25


URLS = {
    "https://10.0.0.1:6443": Address("10.0.0.1", 6443, "", True),
    "https://kubernetes.default.svc": Address("kubernetes.default.svc", 443, "", True),
    "https://[fd00::1]:6443": Address("fd00::1", 6443, "", True),
    "https://rancher.example/k8s/clusters/c-1/": Address("rancher.example", 443, "/k8s/clusters/c-1", True),
    "http://127.0.0.1:8001": Address("127.0.0.1", 8001, "", False),
    "http://localhost": Address("localhost", 80, "", False),
    "http://[::1]:8001": Address("::1", 8001, "", False),
}


@pytest.mark.parametrize(("url", "address"), URLS.items())
def test_a_url_is_taken_apart(url: str, address: Address) -> None:
    assert Address.of(url) == address


BAD_URLS = [
    "",
    "10.0.0.1:6443",
    "ftp://10.0.0.1",
    "https://",
    "https://:6443",
    "https://user:secret@host",
    "https://host?x=y",
    "https://host#x",
    "https://host:port",
    "https://host:99999",
    "https://ho st",
    "https://host/\r\nX: y",
    "https://höst",
    "https://[fd00::1",
    "https://.host",
    "https://host/a?b",
    "http://10.0.0.1:6443",
    "http://kubernetes.default.svc",
    "http://127.0.0.1.example",
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_a_url_that_is_no_api_servers_is_refused_and_told_what_would_be_right(url: str) -> None:
    with pytest.raises(ValueError, match="say for example") as raised:
        Endpoint(url)
    assert "secret" not in str(raised.value)


@given(st.text(max_size=40))
def test_no_text_for_a_url_does_more_than_be_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"http://127.0.0.1{text}"):
        try:
            address = Address.of(url)
        except ValueError:
            continue
        assert address.host
        assert "\r" not in address.prefix


def test_a_pod_finds_its_api_server_by_its_environment(tmp_path: Path) -> None:
    for host, url in (("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")):
        environ = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": "443"}
        found = in_cluster(environ, str(tmp_path))
        assert found == Endpoint(url, ca_file=f"{tmp_path}/ca.crt", token_file=f"{tmp_path}/token")
    with pytest.raises(ValueError, match="KUBERNETES_SERVICE_HOST"):
        in_cluster({})


def test_a_token_is_in_no_repr() -> None:
    assert "secret" not in repr(Endpoint("https://10.0.0.1", token="secret"))


@pytest.mark.parametrize("content", [b"", b"\n", b"a b", b"a\r\nX: y", b"\xff", b"x" * 70_000, b"a\x00b"])
def test_a_file_that_holds_no_token_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "token").write_bytes(content)
    access = Access(Endpoint("https://10.0.0.1", token_file=str(tmp_path / "token")))
    with pytest.raises(WatchError) as raised:
        access.token()
    assert raised.value.problem.kind == "no_credential"


@pytest.mark.parametrize("name", ["missing", "broken"])
def test_an_authority_that_cannot_be_loaded_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "broken").write_text("no PEM")
    with pytest.raises(WatchError) as raised:
        Access(Endpoint("https://10.0.0.1", ca_file=str(tmp_path / name))).tls()
    assert raised.value.problem.kind == "untrusted"
    assert name in raised.value.problem.detail


RESOURCES = [
    (Resource(plural="pods"), "/api/v1/pods"),
    (
        Resource.one("configmaps", "a/b", "x,y=z"),
        "/api/v1/namespaces/a%2Fb/configmaps?fieldSelector=metadata.name%3Dx%2Cy%3Dz",
    ),
    (
        Resource(group="rbac.authorization.k8s.io", plural="roles", label_selector="a=b"),
        "/apis/rbac.authorization.k8s.io/v1/roles?labelSelector=a%3Db",
    ),
]


@pytest.mark.parametrize(("resource", "path"), RESOURCES)
def test_a_resource_is_a_path_that_no_name_can_leave(resource: Resource, path: str) -> None:
    assert resource.path() == path


@given(st.binary(max_size=200))
def test_no_body_breaks_the_reading_of_a_status(body: bytes) -> None:
    read_status(body)


def test_what_a_server_says_is_bounded_and_on_one_line() -> None:
    said = read_status(b'{"message": "a\\r\\nb\\u001b[31m' + b"x" * 5_000 + b'"}').message
    assert len(said) <= MAX_MESSAGE_CHARACTERS
    assert said.isprintable()
