# SPDX-License-Identifier: Apache-2.0
"""The page of limits has the numbers of HTTP/2 that the code has."""

from __future__ import annotations

from pathlib import Path

from watchword.gate.http2 import frames, limits
from watchword.gate.protocol import BOUNDS
from watchword.gate.serve import KEEP_ALIVE_SECONDS

PAGE = (Path(__file__).parents[3] / "docs/reference/limits.md").read_text()
SECTION = PAGE.partition("## HTTP/2\n")[2].partition("\n## ")[0]
KIB = 1024


def test_the_table_says_what_the_code_does() -> None:
    rows = {
        cells[1].strip(): cells[2].strip()
        for line in SECTION.splitlines()
        if line.startswith("| ") and len(cells := line.split("|")) > 3
    }
    assert rows["streams at a time"] == str(limits.MAX_STREAMS)
    assert rows["fields of a request, decoded"] == f"{limits.MAX_FIELD_BYTES // KIB} KiB"
    assert rows["fields of a request, as sent"] == f"{limits.MAX_BLOCK_BYTES // KIB} KiB, in 64 frames"
    assert rows["fields; trailers"] == f"{limits.MAX_FIELDS}; {limits.MAX_TRAILERS}"
    assert rows["a frame"] == f"{frames.MAX_FRAME_BYTES // KIB} KiB"
    windows = f"{limits.STREAM_WINDOW // KIB} KiB, {limits.CONNECTION_WINDOW // KIB} KiB"
    assert rows["bytes of one body, and of all, that the app has not taken"] == windows
    assert (
        rows["bytes of an answer that its caller has not taken"] == f"{limits.HIGH_WATER // KIB} KiB a stream"
    )
    [control] = [value for name, value in rows.items() if name.startswith("frames that carry nothing")]
    assert control == (
        f"{limits.CONTROL_BURST} at once, {limits.CONTROL_A_SECOND} a second and {limits.CONTROL_A_FRAME} "
        f"for each frame of an answer; a stream reset before its answer counts {limits.RESET_COST} more"
    )
    assert (
        rows["seconds for the first request, and for a block of header fields"]
        == f"{BOUNDS.head_seconds:.0f}"
    )
    assert rows["seconds in which nothing is taken of an answer that waits"] == f"{BOUNDS.write_seconds:.0f}"
    assert rows["seconds without a stream"] == str(KEEP_ALIVE_SECONDS)


def test_the_text_says_what_the_code_does() -> None:
    text = " ".join(SECTION.split())
    assert f"a connection has {limits.FRAMES_A_TURN} frames taken" in text
    assert f"each {limits.BLOCK_BYTES_A_FRAME} bytes of header fields" in text
    assert f"counted with {limits.HTTP2_BYTES // KIB} KiB more" in text
    assert f"each stream with {limits.STREAM_BYTES // KIB} KiB" in text
    assert f"up to {limits.MAX_APP_STREAMS} streams of one workload" in text
    assert f"each with {limits.APP_STREAM_WINDOW // KIB} KiB" in text
