# SPDX-License-Identifier: Apache-2.0
"""An endpoint may hang, lie, redirect or flood: no key comes of it, nothing runs away, and it is said why."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import itertools
import json
import ssl
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from testing.keys.authority import Authority
from testing.keys.endpoint import Behaviour, Endpoint, Visit, always, answer, endpoint
from testing.keys.polling import A, B, jwks
from watchword.operator.keys import http
from watchword.operator.keys.addresses import NOT_THIS_MACHINE, AddressRules
from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.fetch import KeyFetcher
from watchword.trust.api.v1alpha1.issuer import DiscoveryKeys

LOOPBACK = AddressRules((ip_network("127.0.0.0/8"), ip_network("::1/128")))
GOOD = answer(jwks(A))
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def tls(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return authority.server(tmp_path_factory.mktemp("tls"))


def fetcher(url: str, authority: Authority, **changes: Any) -> KeyFetcher:
    source = DiscoveryKeys(jwks_url=url, ca_bundle=authority.pem)
    return KeyFetcher(**{"issuer": "https://issuer.test", "source": source, "addresses": LOOPBACK} | changes)


def failure(fetching: KeyFetcher, credential: str | None = None) -> FetchError:
    with pytest.raises(FetchError) as caught:
        asyncio.run(fetching.fetch(credential))
    assert caught.value.remedy
    return caught.value


def flood(head: bytes, piece: bytes, pieces: int) -> Behaviour:
    def behave(visit: Visit) -> None:
        visit.send(head)
        for _ in range(pieces):
            visit.send(piece)

    return behave


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
HOSTILE: list[tuple[str, Behaviour, bool, str]] = [
    # what, how it behaves, whether that is an answer, what is said
    ("HTML", always(answer(b"<html>sign in</html>", kind="text/html")), True, "not JSON"),
    ("304 that was not asked for", always(answer(b"", "304 Not Modified")), True, "first question"),
    ("204", always(b"HTTP/1.1 204 No Content\r\n\r\n"), True, "HTTP 204"),
    ("404", always(answer(b"{}", "404 Not Found")), True, "HTTP 404"),
    ("401", always(answer(b"{}", "401 Unauthorized")), True, "HTTP 401"),
    ("429", always(answer(b"{}", "429 Too Many Requests")), False, "HTTP 429"),
    ("500", always(answer(b"{}", "500 Oops")), False, "HTTP 500"),
    ("206 with half a set", always(answer(jwks(A)[:40], "206 Partial Content")), True, "HTTP 206"),
    (
        "a switch of protocols",
        always(b"HTTP/1.1 101 X\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n"),
        True,
        "no HTTP/1.1",
    ),
    ("no HTTP", always(b"SSH-2.0-OpenSSH_9.6\r\n"), True, "no HTTP/1.1"),
    ("nothing at all", lambda visit: None, False, "in the middle"),
    ("half a head", always(OK), False, "in the middle"),
    ("half a body", always(GOOD[:-10]), False, "in the middle"),
    ("half a chunked body", always(CHUNKED + chunk(b"{")), False, "in the middle"),
    ("two answers in one", always(GOOD.replace(b"200", b"100", 1) + GOOD + GOOD), True, "no HTTP/1.1"),
    (
        "gzip that was not asked for",
        always(answer(gzip.compress(b"0" * 64 * MIB), Content_Encoding="gzip")),
        True,
        "compressed",
    ),
    (
        "100 MiB with a length",
        flood(OK + b"Content-Length: 104857600\r\n\r\n", b"x" * MIB, 100),
        True,
        "more than",
    ),
    ("100 MiB in chunks", flood(CHUNKED, chunk(b"x" * MIB), 100), True, "more than"),
    ("100 MiB in chunks of a byte", flood(CHUNKED, chunk(b"x") * 100_000, 200), True, "more than"),
    ("100 MiB of chunk extensions", flood(CHUNKED + b"1;", b"x" * MIB, 100), True, "more than"),
    ("100 MiB until the connection ends", flood(OK + b"\r\n", b"x" * MIB, 100), True, "more than"),
    ("100 MiB of one header", flood(OK + b"X: ", b"x" * MIB, 100), True, "more than"),
    ("100 MiB of headers", flood(OK, b"X: y\r\n" * 100_000, 200), True, "more than"),
    (
        "100 MiB of interim answers",
        flood(b"", b"HTTP/1.1 103 Early\r\nX: y\r\n\r\n" * 50_000, 100),
        True,
        "more than",
    ),
    ("100 MiB of trailers", flood(CHUNKED + b"0\r\n", b"X: y\r\n" * 100_000, 200), True, "more than"),
    ("a length that is none", always(OK + b"Content-Length: -1\r\n\r\n{}"), True, "no HTTP/1.1"),
    (
        "a length and chunks",
        always(OK + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        True,
        "no HTTP/1.1",
    ),
]


@pytest.mark.parametrize(
    ("behaviour", "is_answer", "said"), [row[1:] for row in HOSTILE], ids=[row[0] for row in HOSTILE]
)
def test_a_hostile_answer_gives_no_keys_and_says_why(
    tls: ssl.SSLContext, authority: Authority, behaviour: Behaviour, is_answer: bool, said: str
) -> None:
    with endpoint(tls, behaviour) as there:
        failed = failure(fetcher(there.url(), authority))
    assert said in failed.detail
    assert failed.is_answer is is_answer
    # What the kernels' buffers hold was sent; the rest was not waited for.
    assert there.sent < 32 * MIB


WAITS: list[tuple[str, bool, Behaviour]] = [
    ("no TLS handshake", False, Visit.hold),
    ("no answer", True, Visit.hold),
    ("a head that trickles", True, lambda visit: visit.trickle(OK + b"X: " + b"x" * MIB)),
    (
        "a body that trickles",
        True,
        lambda visit: visit.trickle(OK + b"Content-Length: 99999\r\n\r\n" + b" " * MIB),
    ),
    (
        "a handshake that trickles",
        False,
        lambda visit: visit.trickle(b"\x16\x03\x03\x40\x00" + b"\x02" * MIB),
    ),
    ("a body without its end", True, lambda visit: (visit.send(GOOD[:-1]), visit.hold())[1]),
]


@pytest.mark.parametrize(
    ("speaks_tls", "behaviour"), [row[1:] for row in WAITS], ids=[row[0] for row in WAITS]
)
def test_an_endpoint_that_never_ends_meets_the_deadline(
    tls: ssl.SSLContext,
    authority: Authority,
    monkeypatch: pytest.MonkeyPatch,
    speaks_tls: bool,
    behaviour: Behaviour,
) -> None:
    monkeypatch.setattr(http, "DEADLINE_SECONDS", 1.0)
    with endpoint(tls if speaks_tls else None, behaviour) as there:
        failed = failure(fetcher(there.url(), authority))
    assert "no whole answer" in failed.detail
    assert not failed.is_answer


def test_a_name_that_resolves_too_slowly_meets_the_deadline(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "DEADLINE_SECONDS", 0.2)

    async def slow(host: str, port: int) -> list[str]:
        await asyncio.sleep(3600)
        return []

    assert "no whole answer" in failure(fetcher("https://slow.test/keys", authority, resolver=slow)).detail


def test_a_port_where_no_tls_is_spoken_is_said(authority: Authority) -> None:
    with endpoint(None, always(GOOD)) as there:
        assert "no TLS" in failure(fetcher(there.url(), authority)).detail


CERTIFICATES = [
    ("another name", ("elsewhere.test",), {}, True),
    ("expired", ("localhost",), {"ends_in": datetime.timedelta(hours=-1)}, True),
    ("another authority", ("localhost",), {}, False),
]


@pytest.mark.parametrize(
    ("names", "life", "is_trusted"), [row[1:] for row in CERTIFICATES], ids=[row[0] for row in CERTIFICATES]
)
def test_a_certificate_that_proves_nothing_ends_it_before_anything_is_sent(
    authority: Authority, tmp_path: Path, names: tuple[str, ...], life: dict[str, Any], is_trusted: bool
) -> None:
    signer = authority if is_trusted else Authority("test authority")
    with endpoint(signer.server(tmp_path, names, **life), always(GOOD)) as there:
        failed = failure(fetcher(there.url(), authority), "secret-token")
        assert "certificate" in failed.detail
        assert there.requests == []


def test_without_a_ca_bundle_the_systems_authorities_decide(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    with endpoint(tls, always(GOOD)) as there:
        source = DiscoveryKeys(jwks_url=there.url())
        assert "certificate" in failure(fetcher(there.url(), authority, source=source)).detail


@pytest.mark.parametrize(
    "bundle", ["junk", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "é"]
)
def test_a_ca_bundle_without_a_certificate_is_said(authority: Authority, bundle: str) -> None:
    source = DiscoveryKeys(jwks_url="https://localhost:1/keys", ca_bundle=bundle)
    assert "CA bundle" in failure(fetcher("", authority, source=source)).detail


def moved(location: str, status: str = "302 Found") -> bytes:
    return answer(b"", status, Location=location)


@pytest.mark.parametrize("status", ["301 M", "302 F", "303 S", "307 T", "308 P"])
@pytest.mark.parametrize(
    "target", ["https://127.0.0.1:{port}/keys", "http://localhost:{port}/keys", "//127.0.0.1:{port}/keys"]
)
def test_nothing_follows_a_redirect_to_another_host_and_no_credential_either(
    tls: ssl.SSLContext, authority: Authority, status: str, target: str
) -> None:
    with endpoint(tls, always(GOOD)) as elsewhere:
        with endpoint(tls, always(moved(target.format(port=elsewhere.port), status))) as there:
            failed = failure(fetcher(there.url(), authority), "secret-token")
        assert "another host" in failed.detail
        assert failed.is_answer
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("", "more than 3 times"),
        ("/keys", "more than 3 times"),
        ("file:///etc/passwd", "no URL"),
        ("gopher://localhost/x", "no URL"),
        ("https://user@localhost/x", "no URL"),
        ("https://localhost\\@127.0.0.1/", "no URL"),
        ("/" + "a" * 10_000, "no URL"),
        ("https://[::1", "no URL"),
        ("https://localhost:99999/", "no URL"),
        ("https://localhost:0/", "no URL"),
    ],
)
def test_a_redirect_that_leads_nowhere_is_said(
    tls: ssl.SSLContext, authority: Authority, location: str, said: str
) -> None:
    with endpoint(tls, always(moved(location))) as there:
        assert said in failure(fetcher(there.url(), authority)).detail


def test_a_redirect_on_the_same_host_is_followed(tls: ssl.SSLContext, authority: Authority) -> None:
    def behave(visit: Visit) -> None:
        visit.send(GOOD if visit.path == "/moved?x=1" else moved("/moved?x=1"))

    with endpoint(tls, behave) as there:
        assert asyncio.run(fetcher(there.url(), authority).fetch()) == jwks(A)


ADDRESSES = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "169.254.169.254",
    "224.0.0.1",
    "255.255.255.255",
    "240.1.1.1",
]
ADDRESSES += [
    "::1",
    "::",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "::ffff:127.0.0.1",
    "::ffff:169.254.169.254",
]
ADDRESSES += [
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "::127.0.0.1",
    "::ffff:0:7f00:1",
    "fec0::1",
]
ADDRESSES += [
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "fd20:ce::254",
    "fd00:ec2::23",
    "not an address",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_an_address_of_this_machine_or_its_cloud_is_not_connected_to(
    authority: Authority, address: str
) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        # One good address beside the bad one must not help it.
        return ["10.1.2.3", address]

    failed = failure(fetcher("https://keys.test/", authority, addresses=NOT_THIS_MACHINE, resolver=resolver))
    assert "not fetched from" in failed.detail


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "127.0.0.1",
        "[::1]",
        "0x7f000001",
        "2130706433",
        "127.1",
        "0177.0.0.1",
        "[::ffff:127.0.0.1]",
    ],
)
def test_every_spelling_of_loopback_is_refused_unless_it_was_allowed(
    tls: ssl.SSLContext, authority: Authority, host: str
) -> None:
    with endpoint(tls, always(GOOD)) as there:
        failed = failure(fetcher(there.url(host=host), authority, addresses=NOT_THIS_MACHINE))
        assert "a loopback address" in failed.detail
        assert there.connections == 0


@pytest.mark.parametrize(
    "address",
    [
        "10.0.0.1",
        "172.16.3.4",
        "192.168.1.1",
        "100.64.1.1",
        "8.8.8.8",
        "fd12::1",
        "2001:4860:4860::8888",
        "64:ff9b::808:808",
    ],
)
def test_addresses_where_clusters_live_are_allowed(address: str) -> None:
    assert NOT_THIS_MACHINE.refusal(address) is None


def test_a_name_that_rebinds_is_dialled_where_it_was_checked(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    """The second look-up would lead to loopback: there is none, within one fetch and its redirects."""
    asked = itertools.count(1)
    allowed = AddressRules((ip_network("127.0.0.1/32"),))

    async def rebinding(host: str, port: int) -> list[str]:
        return ["127.0.0.1"] if next(asked) == 1 else ["127.0.0.2"]

    def behave(visit: Visit) -> None:
        visit.send(GOOD if visit.path == "/moved" else moved("/moved"))

    with endpoint(tls, behave) as there:
        fetching = fetcher(there.url(), authority, addresses=allowed, resolver=rebinding)
        assert asyncio.run(fetching.fetch()) == jwks(A)
        assert next(asked) == 2
        assert "127.0.0.2" in failure(fetching).detail


def test_the_next_address_is_tried_when_one_does_not_answer(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    async def resolver(host: str, port: int) -> list[str]:
        return ["127.0.0.9", "127.0.0.1"]

    with endpoint(tls, always(GOOD)) as there:
        assert asyncio.run(fetcher(there.url(), authority, resolver=resolver).fetch()) == jwks(A)


def conditional(visit: Visit) -> None:
    if visit.header("If-None-Match") == '"v1"':
        visit.send(answer(b"", "304 Not Modified", ETag='"v1"'))
    else:
        visit.send(answer(jwks(A), ETag='"v1"'))


def test_what_has_not_changed_is_not_sent_again(tls: ssl.SSLContext, authority: Authority) -> None:
    with endpoint(tls, conditional) as there:
        fetching = fetcher(there.url(), authority)
        assert [asyncio.run(fetching.fetch()) for _ in range(3)] == [jwks(A)] * 3
        assert [visit.header("If-None-Match") for visit in there.requests] == [None, '"v1"', '"v1"']


@pytest.mark.parametrize("etag", ["a\tb", "é", "x" * 257])
def test_a_validator_that_could_break_a_request_is_not_sent_back(
    tls: ssl.SSLContext, authority: Authority, etag: str
) -> None:
    with endpoint(tls, always(answer(jwks(A), ETag=etag))) as there:
        fetching = fetcher(there.url(), authority)
        assert [asyncio.run(fetching.fetch()) for _ in range(2)] == [jwks(A)] * 2
        assert [visit.header("If-None-Match") for visit in there.requests] == [None, None]


def discovery(there: Endpoint, **changes: Any) -> bytes:
    document = {"issuer": there.url(""), "jwks_uri": there.url("/openid/v1/jwks")} | changes
    return answer(json.dumps(document).encode(), kind="application/json")


def by_discovery(there: Endpoint, authority: Authority, issuer: str | None = None) -> KeyFetcher:
    source = DiscoveryKeys(ca_bundle=authority.pem)
    return KeyFetcher(issuer=issuer or there.url(""), source=source, addresses=LOOPBACK)


def test_keys_are_found_by_discovery_and_then_asked_for_alone(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    def behave(visit: Visit) -> None:
        visit.send(discovery(there) if visit.path.startswith("/.well-known/") else GOOD)

    with endpoint(tls, behave) as there:
        fetching = by_discovery(there, authority)
        assert [asyncio.run(fetching.fetch()) for _ in range(2)] == [jwks(A)] * 2
        paths = [visit.path for visit in there.requests]
        assert paths == ["/.well-known/openid-configuration", "/openid/v1/jwks", "/openid/v1/jwks"]


def test_keys_that_moved_are_found_again(tls: ssl.SSLContext, authority: Authority) -> None:
    place = ["/one"]

    def behave(visit: Visit) -> None:
        if visit.path.startswith("/.well-known/"):
            visit.send(discovery(there, jwks_uri=there.url(place[0])))
        else:
            visit.send(GOOD if visit.path == place[0] else answer(b"", "404 Gone"))

    with endpoint(tls, behave) as there:
        fetching = by_discovery(there, authority)
        assert asyncio.run(fetching.fetch()) == jwks(A)
        place[0] = "/two"
        assert "HTTP 404" in failure(fetching).detail
        assert asyncio.run(fetching.fetch()) == jwks(A)


def test_an_issuer_that_ends_in_a_slash_has_its_document_all_the_same(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    def behave(visit: Visit) -> None:
        is_document = visit.path == "/id/1/.well-known/openid-configuration"
        visit.send(discovery(there, issuer=there.url("/id/1/")) if is_document else GOOD)

    with endpoint(tls, behave) as there:
        assert asyncio.run(by_discovery(there, authority, there.url("/id/1/")).fetch()) == jwks(A)


LIES: list[tuple[str, dict[str, Any], str]] = [
    ("another issuer", {"issuer": "https://evil.test"}, "another issuer"),
    ("the issuer with a slash", {"issuer": "{url}/"}, "another issuer"),
    ("keys on another host", {"jwks_uri": "https://127.0.0.1:{other}/keys"}, "keys are at"),
    ("keys on another port", {"jwks_uri": "https://localhost:{other}/keys"}, "keys are at"),
    ("keys over plain HTTP", {"jwks_uri": "http://localhost/keys"}, "no https URL"),
    ("keys in a file", {"jwks_uri": "file:///etc/keys"}, "no https URL"),
    ("no place", {"jwks_uri": None}, "no discovery document"),
    ("a place that is no text", {"jwks_uri": ["https://localhost"]}, "no discovery document"),
    ("a place with a line break", {"jwks_uri": "https://localhost/\r\nX: y"}, "no https URL"),
]


@pytest.mark.parametrize(("changes", "said"), [row[1:] for row in LIES], ids=[row[0] for row in LIES])
def test_a_discovery_document_that_lies_leads_nowhere_with_no_credential(
    tls: ssl.SSLContext, authority: Authority, changes: dict[str, Any], said: str
) -> None:
    with endpoint(tls, always(GOOD)) as elsewhere:
        with endpoint(tls, lambda visit: visit.send(discovery(there, **filled))) as there:
            filled = {
                name: value.format(url=there.url(""), other=elsewhere.port)
                if isinstance(value, str)
                else value
                for name, value in changes.items()
            }
            failed = failure(by_discovery(there, authority), "secret-token")
        assert said in failed.detail
        assert failed.is_answer
        assert elsewhere.connections == 0
        assert len(there.requests) == 1


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{", b"[" * 100_000, b'{"issuer":"a","issuer":"b"}', b"\xff"]
)
def test_a_discovery_document_that_is_none_is_said(
    tls: ssl.SSLContext, authority: Authority, document: bytes
) -> None:
    with endpoint(tls, always(answer(document, kind="application/json"))) as there:
        assert "no discovery document" in failure(by_discovery(there, authority)).detail


def test_a_credential_is_sent_to_its_host_and_is_in_no_text(
    tls: ssl.SSLContext, authority: Authority
) -> None:
    with endpoint(tls, always(answer(b"{}", "403 Forbidden"))) as there:
        failed = failure(fetcher(there.url(), authority), " secret-token\n")
        assert [visit.header("Authorization") for visit in there.requests] == ["Bearer secret-token"]
    assert "secret-token" not in f"{failed!r} {failed} {failed.detail} {failed.remedy}"


@pytest.mark.parametrize("credential", ["", " ", "a b", "a\r\nX: y", "é", "x" * 9000, "a\0"])
def test_a_credential_that_is_no_token_is_not_sent(
    tls: ssl.SSLContext, authority: Authority, credential: str
) -> None:
    with endpoint(tls, always(GOOD)) as there:
        failed = failure(fetcher(there.url(), authority), credential)
        assert "credential" in failed.detail
        assert there.connections == 0


def test_an_environment_with_a_proxy_changes_nothing(
    tls: ssl.SSLContext, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with endpoint(None, Visit.hold) as proxy, endpoint(tls, always(GOOD)) as there:
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert asyncio.run(fetcher(there.url(), authority).fetch()) == jwks(A)
        assert proxy.connections == 0
    # What is not reached directly is told with the variable that its owner set, without its value.
    failed = failure(fetcher(there.url(), authority))
    assert "HTTPS_PROXY is set and never used" in failed.remedy
    assert str(proxy.port) not in failed.remedy


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 120),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0, 0),
        ("Fri, 31 Dec 2199 23:59:59 GMT", 10**9, 10**10),
    ],
)
def test_what_the_server_asks_to_wait_is_passed_on(
    tls: ssl.SSLContext, authority: Authority, header: str, least: float, most: float
) -> None:
    with endpoint(tls, always(answer(b"", "429 Too Many Requests", Retry_After=header))) as there:
        wait = failure(fetcher(there.url(), authority)).retry_after
    assert wait is not None
    assert least <= wait <= most


@pytest.mark.parametrize("header", ["", "soon", "-1", "1e9", "9" * 400, "Fri, 99 Dec 1999 23:59:59 GMT"])
def test_what_is_no_time_to_wait_is_none(tls: ssl.SSLContext, authority: Authority, header: str) -> None:
    with endpoint(tls, always(answer(b"", "503 Busy", Retry_After=header))) as there:
        assert failure(fetcher(there.url(), authority)).retry_after is None


URLS = ["", "https://", "http://localhost/", "ftp://x/", "https://user:pw@x/", "https://x/#f", "https://x y/"]
URLS += [
    "https://x\\y/",
    "https://x:0/",
    "https://x:65536/",
    "https://[::1/",
    "https://é/",
    "https://x/\r\n",
    "//x/",
]
URLS += [
    "https://x:y/",
    "https://" + "a" * 300 + "/",
    "https://x/" + "a" * 3000,
    "https://[fe80::1%25eth0]/",
    "https://@x/",
]


@pytest.mark.parametrize("url", URLS)
def test_a_url_that_could_be_read_in_two_ways_is_not_asked(authority: Authority, url: str) -> None:
    assert "URL" in failure(fetcher(url, authority)).detail


def test_another_set_is_another_answer(tls: ssl.SSLContext, authority: Authority) -> None:
    sets = iter([jwks(A), jwks(A, B)])
    with endpoint(tls, lambda visit: visit.send(answer(next(sets)))) as there:
        fetching = fetcher(there.url(), authority)
        assert [asyncio.run(fetching.fetch()) for _ in range(2)] == [jwks(A), jwks(A, B)]


@pytest.mark.parametrize(
    "served",
    [
        answer(jwks(A), kind=None),
        answer(jwks(A), kind="application/json; charset=utf-8"),
        answer(jwks(A), kind="binary/octet-stream"),
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + GOOD,
        b"HTTP/1.0 200 OK\r\n\r\n" + jwks(A),
        CHUNKED + b"".join(chunk(jwks(A)[n : n + 7]) for n in range(0, len(jwks(A)), 7)) + b"0\r\n\r\n",
    ],
)
def test_ways_to_serve_a_good_set_are_all_understood(
    tls: ssl.SSLContext, authority: Authority, served: bytes
) -> None:
    with endpoint(tls, always(served)) as there:
        assert asyncio.run(fetcher(there.url(), authority).fetch()) == jwks(A)
