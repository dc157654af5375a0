# SPDX-License-Identifier: Apache-2.0
"""The page of limits says the numbers that the code has."""

from __future__ import annotations

from pathlib import Path

from watchword.gate.long_connections import MAX_CONNECTIONS, MAX_STRANGERS
from watchword.gate.protocol import BOUNDS, PROXYING_BOUNDS
from watchword.gate.proxy.upstream import (
    CONNECT_SECONDS,
    KEEP_SECONDS,
    MAX_IDLE,
    MAX_IDLE_OF_STRANGERS,
    REUSE_SECONDS,
    UPLOAD_SECONDS,
)
from watchword.gate.proxy.upstream_connection import (
    MAX_HEAD_BYTES,
    MAX_HEADERS,
    MAX_TRAILER_BYTES,
    MAX_TRAILERS,
)
from watchword.process.bounds import (
    CONNECTION_BYTES,
    OPS_BOUNDS,
    PATIENCE_SECONDS,
    PLAIN_PATIENCE_SECONDS,
    TLS_CONNECTION_BYTES,
    UNREAD_SECONDS,
    Bounds,
    with_tls,
)
from watchword.webhook.app import MAX_LARGE_REVIEWS, MAX_SMALL_BYTES
from watchword.webhook.review import MAX_REVIEW_BYTES, MAX_REVIEW_PARTS
from watchword.webhook.serve import REVIEW_BOUNDS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "limits.md").read_text()


def size(number: float) -> str:
    whole = int(number)
    return f"{whole // 2**20} MiB" if whole % 2**20 == 0 else f"{whole // 1024} KiB"


def rows(bounds: Bounds) -> dict[str, str]:
    return {
        "head: request": size(bounds.head_bytes),
        "headers": str(bounds.headers),
        "message": size(bounds.message_bytes),
        "trailers": f"{size(bounds.trailer_bytes)}, {bounds.trailers} of them",
        "pipelined": size(bounds.pipelined_bytes),
        "seconds for a whole head": f"{bounds.head_seconds:.0f}",
        "seconds in which": f"{bounds.write_seconds:.0f}",
        "connections": str(bounds.connections),
        "bytes that all": size(bounds.buffered_bytes),
    }


def test_the_table_says_the_numbers_of_each_port() -> None:
    section = PAGE.partition("## Per port")[2].partition("\n## ")[0]
    cells = [
        [each.strip() for each in line.strip("|").split("|")] for line in section.splitlines() if "|" in line
    ]
    for column, bounds in enumerate((BOUNDS, OPS_BOUNDS, REVIEW_BOUNDS), start=1):
        for name, value in rows(bounds).items():
            [row] = [each for each in cells if each[0].startswith(name)]
            assert row[column].partition(";")[0] == value, (name, column)


def test_the_sentences_say_the_other_numbers() -> None:
    flat = " ".join(PAGE.split())
    assert f"with `--upstream` {size(PROXYING_BOUNDS.buffered_bytes)}" in flat
    assert f"counted with {size(CONNECTION_BYTES)} before" in flat
    assert f"with {size(TLS_CONNECTION_BYTES)} where the port speaks TLS" in flat
    assert f"at most {size(MAX_REVIEW_BYTES)} and {MAX_REVIEW_PARTS:,} members" in flat
    assert f"above {size(MAX_SMALL_BYTES)}" in flat
    assert (
        f"had {PATIENCE_SECONDS} seconds for its handshake or first head, "
        f"or {PLAIN_PATIENCE_SECONDS} seconds without TLS" in flat
    )
    assert f"before their first one that had {PATIENCE_SECONDS} seconds for it" in flat
    tls, proxying = with_tls(BOUNDS), with_tls(PROXYING_BOUNDS)
    assert f"with TLS {size(tls.buffered_bytes)} and {size(proxying.buffered_bytes)} |" in flat
    assert (
        f"| {tls.handshakes}; with `--upstream` {proxying.handshakes} | none | {REVIEW_BOUNDS.handshakes} |"
        in flat
    )
    gate, with_app, webhook = (
        f"{each.handshakes / PATIENCE_SECONDS:.0f}" for each in (tls, proxying, REVIEW_BOUNDS)
    )
    assert f"takes {gate} of them a second ({with_app} with `--upstream`), the webhook {webhook}," in flat
    assert f"has taken nothing for {UNREAD_SECONDS:.0f} seconds" in flat
    assert MAX_LARGE_REVIEWS == 2


def test_the_table_says_what_is_taken_from_an_app() -> None:
    for line in (
        f"an answer's head, and its headers | {size(MAX_HEAD_BYTES)}, {MAX_HEADERS} |",
        f"which pass on from `h2c://` alone | {size(MAX_TRAILER_BYTES)}, {MAX_TRAILERS} |",
        f"for a connection to be made | {CONNECT_SECONDS:.0f} |",
        f"{MAX_IDLE} ({MAX_IDLE_OF_STRANGERS} of public routes), {KEEP_SECONDS:.0f} ({REUSE_SECONDS:.0f} for",
        f"passed on at a time | {MAX_CONNECTIONS}, of them {MAX_STRANGERS} on public routes;",
        f"`--upstream` {UPLOAD_SECONDS:.0f} without a byte (`--upload-timeout-seconds`)",
    ):
        assert line in PAGE
