# SPDX-License-Identifier: Apache-2.0
"""Commands that pages show: a shell makes of them the words that were meant, in the place that is shown."""

from __future__ import annotations

import html
import re
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import parse_qsl, quote

import pytest

from testing.tokens import token
from tests.console.answers import Answers
from tests.console.manifests import objects, service, write_manifests
from tests.console.running import console_of
from tests.console.test_callers import ATLAS, compiled
from tests.console.test_exposure import seen
from watchword.console.cluster import pinned
from watchword.console.folder_source import FolderSource

EVIL = "here'; touch pwned #"
PATHS = (
    "/",
    "/services",
    "/services/tuist/api",
    "/workloads",
    "/workloads/tuist/atlas",
    "/issuers",
    "/issuers/atlas-production",
    "/desks",
    "/token",
    "/token?service=tuist/api",
)


def commands_in(page: str) -> list[str]:
    return [html.unescape(each) for each in re.findall(r"<code>([^<]*)</code></pre>", page)]


def words_run(line: str, folder: Path) -> list[list[str]]:
    """What bash calls for a line: each call of kubectl and of watchword with its words."""
    log = folder / "calls"
    log.unlink(missing_ok=True)
    for name in ("kubectl", "watchword"):
        program = folder / name
        program.write_text(
            '#!/bin/bash\n{ printf "%s\\0" "KUBECONFIG=$KUBECONFIG" "${0##*/}" "$@"; '
            'printf "\\n\\0"; } >> "$CALLS"\n'
        )
        program.chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "CALLS": str(log), "HOME": str(folder)}
    subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environment,
        timeout=60,
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
    )
    calls = log.read_text().split("\n\0") if log.exists() else []
    return [each.split("\0")[:-1] for each in calls if each]


def test_each_command_of_each_page_reaches_the_place_that_is_shown(tmp_path: Path) -> None:
    listed = [seen(each) for each in [*objects(), service("tuist", "api"), ATLAS]]
    file = str(tmp_path / "my $(touch pwned) config")
    source = Answers(listed, {"tuist/api": compiled(ATLAS)}, context=EVIL, kubeconfig=file)
    lines: set[str] = set()
    with console_of(source) as console:
        for path in PATHS:
            lines |= set(commands_in(console.page(path)))
    empty = Answers([], context=EVIL, kubeconfig=file)
    with console_of(empty) as console:
        for path in ("/services", "/workloads", "/issuers", "/desks"):
            lines |= set(commands_in(console.page(path)))
    lines -= {"watchword desk --help"}
    assert len(lines) > 15
    for line in lines:
        for call in words_run(line, tmp_path):
            if call[1:3] == ["watchword", "pin"]:
                continue
            assert f"--context={EVIL}" in call, line
            assert f"--kubeconfig={file}" in call or call[0] == f"KUBECONFIG={file}", line
    assert not (tmp_path / "pwned").exists()


def test_a_path_that_is_judged_does_not_leave_its_here_document(tmp_path: Path) -> None:
    routes = [{"path": "/api/{account}/x", "methods": ["GET"], "scope": "a:read"}]
    bundle = compiled(ATLAS, routes=routes)
    now = int(time.time())
    given = token(
        iat=now - 60,
        nbf=now - 60,
        exp=now + 600,
        aud=[bundle.audiences[0]],
        **{
            "sub": "system:serviceaccount:shop:stranger",
            "kubernetes.io": {
                "namespace": "shop",
                "serviceaccount": {"name": "stranger", "uid": "u"},
                "pod": {"name": "p", "uid": "v"},
            },
        },
    ).decode()
    source = Answers([seen(service("tuist", "api", routes=routes))], {"tuist/api": bundle})
    with console_of(source) as console:
        for account in ("a\nEOF\ntouch pwned", "a\rEOF", "$(touch pwned)", "'x", "a\u2028EOF"):
            for path in (f"/api/{account}/x", f"/api/{quote(account)}/x"):
                answer = console.post(
                    "/token", {"service": "tuist/api", "token": given, "method": "GET", "path": path}
                )
                assert "unknown_workload" in answer.text
                for line in commands_in(answer.text):
                    words_run(line, tmp_path)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "query", ["scope=--manifests=/x", "scope=a:read&account=-o", "scope=-h&account=--help"]
)
def test_a_link_makes_no_option_of_what_it_asks_for(tmp_path: Path, query: str) -> None:
    asked = [value for _, value in parse_qsl(query)]
    sources = (
        Answers(
            [seen(service("tuist", "api")), seen(ATLAS)], {"tuist/api": compiled(ATLAS)}, kubeconfig="/k"
        ),
        FolderSource(str(tmp_path)),
    )
    write_manifests(tmp_path, [service("tuist", "api"), ATLAS])
    for source in sources:
        with console_of(source) as console:
            lines = commands_in(console.page(f"/services/tuist/api?{query}"))
        [line] = [each for each in lines if "who-can" in each]
        [call] = words_run(line, tmp_path)
        assert call[call.index("--") + 1 :] == asked
        assert "--service=tuist/api" in call[: call.index("--")]


@pytest.mark.parametrize(
    "name",
    ["-o", "a b", "a'b", "$(touch pwned)", "`touch pwned`", "a;touch pwned", "a\ntouch pwned", "~", "!!"],
)
def test_a_folder_and_its_files_of_any_name_stay_one_word(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    write_manifests(folder, name=f"{name}.json")
    with console_of(FolderSource(name)) as console:
        lines = commands_in(console.page("/services/tuist/tuist-server"))
    [apply] = [each for each in lines if each.startswith("kubectl apply")]
    [call] = words_run(apply, tmp_path)
    assert (tmp_path / call[-1]).samefile(folder / f"{name}.json")
    [diff] = [each for each in lines if each.startswith("watchword diff")]
    [call] = words_run(diff, tmp_path)
    assert (tmp_path / call[-1]).samefile(folder)
    assert not call[-1].startswith("-")
    assert not (tmp_path / "pwned").exists()


def test_the_current_context_is_named_so_that_a_later_switch_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read of one cluster and pasted for another is the worst that a page could do."""
    config = tmp_path / "config"
    config.write_text('{"apiVersion":"v1","kind":"Config","current-context":"first","contexts":[]}')
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.setenv("KUBECONFIG", str(config))
    assert pinned(None, None) == ("first", str(config))
    monkeypatch.chdir(tmp_path)
    assert pinned("other", "config") == ("other", str(config))
    monkeypatch.setenv("KUBECONFIG", f"{config}:{tmp_path / 'more'}")
    assert pinned(None, None) == ("first", None)
    config.write_text("{}")
    assert pinned(None, None) == (None, None)
