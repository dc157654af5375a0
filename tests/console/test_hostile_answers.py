# SPDX-License-Identifier: Apache-2.0
"""Answers of gates, requests of other pages and folders of others, made to break a page."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from testing.controlplane import wait_until
from tests.console.manifests import SERVICE
from tests.console.running import Console, console_of
from tests.console.test_pages import shown, stream_of
from watchword.cli.failures import UnusableInput
from watchword.console.cluster import ClusterSource
from watchword.console.folder_source import FolderSource
from watchword.console.gates import decisions_of, refusals_of
from watchword.console.rendering import visible
from watchword.console.session import LinkFile
from watchword.console.snapshots import MAX_LISTENERS


@pytest.mark.parametrize("value", ["+Inf", "NaN", "1e400", "-5", "1e308"])
def test_no_value_of_a_metric_breaks_the_page(value: str) -> None:
    text = (
        "# TYPE watchword_decisions_total counter\n"
        f'watchword_decisions_total{{reason="expired"}} {value}\n'
        'watchword_decisions_total{reason="allowed"} 3\n'
    )
    assert decisions_of(text.encode()) == {"allowed": 3}


def test_no_line_of_a_log_breaks_the_page() -> None:
    entry = b'{"outcome":"refused","reason":"expired","time":%b,"subject":"s"}'
    lines = [
        b"[" * 200_000,
        b'{"a":' * 100_000,
        entry % (b"9" * 400),
        entry % b"NaN",
        entry % b"Infinity",
        entry % b"true",
        entry % b"5",
    ]
    assert [each.at for each in refusals_of(b"\n".join(lines))] == [5.0]


def test_an_ops_url_that_speaks_no_http_is_a_gap(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"SSH-2.0-x\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with console_of(FolderSource(str(folder), ops_urls=(url,))) as console:
            assert "gives no metrics" in shown(console.page(f"/refusals?service={SERVICE}"))
        thread.join(60)


def test_a_gate_that_answers_without_end_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pod of the service's labels answers as long as it likes; the API server passes it on."""
    program = tmp_path / "kubectl"
    program.write_text("#!/bin/sh\nexec yes watchword_decisions_total\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    source = ClusterSource(None, None, ())
    with pytest.raises(UnusableInput, match="more than 4194304 bytes"):
        source.get("/api/v1/namespaces/tuist/pods/api-0:9090/proxy/metrics")


def test_an_answer_of_a_gate_that_fits_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "kubectl"
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    path = "/api/v1/namespaces/tuist/pods/api-0:9090/proxy/metrics"
    for script, said in (
        ("head -c 4194304 /dev/zero", None),
        ("echo no >&2; exit 1", "no"),
        ("exit 3", "with 3"),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        if said is None:
            assert len(ClusterSource(None, None, ()).get(path)) == 4194304
        else:
            with pytest.raises(UnusableInput, match=said):
                ClusterSource(None, None, ()).get(path)


@pytest.mark.parametrize(
    "character",
    [
        "\u202e",
        "\u200b",
        "\u200d",
        "\u2066",
        "\ufeff",
        "\u00ad",
        "\ufe0f",
        "\U000e0101",
        "\u034f",
        "\u3164",
        "\u115f",
        "\u1160",
        "\uffa0",
        "\u17b4",
        "\u180b",
        "\u2800",
        "\u00a0",
        "\x1b",
        "\r",
        "\t",
        "\U000e0041",
    ],
)
def test_a_character_that_no_one_sees_is_spelled(character: str) -> None:
    said = visible(f"prod{character}uction")
    assert character not in said
    assert "\\" in said


@pytest.mark.parametrize(
    ("site", "mode", "status"),
    [
        ("cross-site", "no-cors", 403),
        ("same-site", "no-cors", 403),
        ("same-site", "cors", 403),
        ("cross-site", "navigate", 200),
        ("same-origin", "cors", 200),
        ("none", "navigate", 200),
    ],
)
def test_what_another_page_embeds_is_refused_even_with_the_cookie(
    console: Console, site: str, mode: str, status: int
) -> None:
    for path in ("/services", "/static/console.css"):
        headers = [
            ("Host", console.authority),
            ("Cookie", console.cookie),
            ("Sec-Fetch-Site", site),
            ("Sec-Fetch-Mode", mode),
        ]
        assert console.send("GET", path, headers).status == status


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_no_place_for_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner could put a page of theirs in the place of ours."""
    theirs, open_to_all, shared = (tmp_path / name for name in ("theirs", "open", "shared"))
    for each, mode in ((theirs, 0o755), (open_to_all, 0o777), (shared, 0o1777)):
        each.mkdir()
        each.chmod(mode)
    os.chown(theirs, 65534, 65534)
    for each in (theirs, open_to_all):
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(each))
        with pytest.raises(OSError, match="another user"):
            LinkFile("http://x/open/y")
        assert list(each.iterdir()) == []
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    LinkFile("http://x/open/y").remove()


def test_a_runtime_folder_that_is_relative_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")
    file = LinkFile("http://x/open/y")
    try:
        assert file.path.as_uri().startswith("file:///")
    finally:
        file.remove()


def test_streams_that_were_left_make_room_for_others(console: Console) -> None:
    streams = [stream_of(console, "x") for _ in range(MAX_LISTENERS)]
    for each in streams:
        next(each)
    for each in streams:
        each.close()

    def is_told() -> bool:
        stream = stream_of(console, "x")
        lines = [next(stream) for _ in range(3)]
        stream.close()
        return any(line.startswith("data:") for line in lines)

    wait_until(is_told, what="a page is told of changes again", timeout_seconds=120)
