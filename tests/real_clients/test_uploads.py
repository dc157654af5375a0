# SPDX-License-Identifier: Apache-2.0
"""Real clients that offer an upgrade with a body: the JDK's, curl's; and two that do not. Each body arrives.

Java's client offers h2c by default, so whoever writes `HttpClient.newHttpClient()` is a case of this.
"""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from testing.framing.run import Lab, lab
from testing.framing.strict import Request
from testing.unavailable import needed_program

JAVA = Path(__file__).parent / "UploadCaller.java"
SIZES = (0, 1, 11, 16_384, 300_000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gate with `--upstream`, and a recording app behind it."""
    with lab(tmp_path_factory.mktemp("clients")) as running:
        yield running


def program(name: str, required_by: str) -> str:
    """A program's path, or no test."""
    return needed_program(name, tests="tests of real clients", required_by=required_by)


def token_of(place: Lab) -> str:
    return place.credentials[0].decode().removeprefix("Authorization: Bearer ")


def since(place: Lab, before: int) -> list[Request]:
    place.app.settle()
    return place.app.seen[before:]


def test_the_jdks_client_with_its_defaults(place: Lab) -> None:
    java, before = program("java", "WATCHWORD_REQUIRE_JDK"), len(place.app.seen)
    program("javac", "WATCHWORD_REQUIRE_JDK")

    done = subprocess.run(
        [java, str(JAVA), f"{place.gate.url}/app/acme/echo", token_of(place)],
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )

    calls = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert len(calls) == 2 * 2 * len(SIZES) * 2
    assert [each for each in calls if each[1] != "200"] == []
    seen = since(place, before)
    assert [each.target.decode().partition("?call=")[2] for each in seen] == [name for name, *_ in calls]
    assert [len(each.body) for each in seen] == [int(name.split("-")[2]) for name, *_ in calls]
    assert {bytes(each.body.replace(b"j", b"")) for each in seen} == {b""}
    # Each answer is that of its own request.
    assert [int(serial) for *_, serial in calls] == list(range(before, before + len(calls)))
    assert not any(each.values(b"upgrade") or each.values(b"http2-settings") for each in seen)


@pytest.mark.parametrize("target", ["echo", "early", "chunked", "none", "slow"])
@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("form", ["length", "chunked"])
@pytest.mark.parametrize("version", ["--http2", "--http1.1"])
def test_curl(  # noqa: PLR0917 - one a parameter
    place: Lab, tmp_path: Path, version: str, form: str, size: int, target: str
) -> None:
    curl, before = program("curl", "WATCHWORD_REQUIRE_PROXIES"), len(place.app.seen)
    body = tmp_path / "body"
    body.write_bytes(b"c" * size)
    headers: Sequence[str] = ("-H", "Transfer-Encoding: chunked") if form == "chunked" else ()
    # Twice in one run, so that the connection is used again.
    url = f"{place.gate.url}/app/acme/{target}"
    one = [
        version,
        "--silent",
        "--show-error",
        "--max-time",
        "30",
        "-H",
        place.credentials[0].decode(),
        *headers,
        "--data-binary",
        f"@{body}",
        "--output",
        str(tmp_path / "out"),
        "--write-out",
        "%{http_code}\\n",
        url,
    ]

    done = subprocess.run(
        [curl, *one, "--next", *one], check=True, capture_output=True, text=True, timeout=100
    )

    assert done.stdout.split() == ["200", "200"]
    seen = since(place, before)
    assert len(seen) == 2
    if target != "early":
        assert [len(each.body) for each in seen] == [size, size]
    assert all(b"c" * len(each.body) == bytes(each.body) for each in seen)


@pytest.mark.parametrize("size", SIZES)
def test_clients_of_python(place: Lab, size: int) -> None:
    before = len(place.app.seen)
    host, _, port = place.gate.address.rpartition(":")
    link = http.client.HTTPConnection(host, int(port), timeout=30)
    with httpx.Client(base_url=place.gate.url, trust_env=False, timeout=30) as client:
        for _ in range(3):
            headers = {"Authorization": f"Bearer {token_of(place)}"}
            link.request("PUT", "/app/acme/echo", body=b"p" * size, headers=headers)
            answer = link.getresponse()
            answer.read()
            assert answer.status == 200
            chunks = iter([b"p" * (size // 2), b"p" * (size - size // 2)])
            assert client.put("/app/acme/echo", content=chunks, headers=headers).status_code == 200
    link.close()

    assert [bytes(each.body) for each in since(place, before)] == [b"p" * size] * 6
