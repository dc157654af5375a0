# SPDX-License-Identifier: Apache-2.0
"""What a terminal shows that knows ASCII alone, and that a pipe gets the same bytes as ever."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

import pytest

from watchword.cli.terminal import shows_ascii_only

SAYS = (
    "import sys, click; from watchword.cli.terminal import prepare_terminal; prepare_terminal(); "
    "click.echo('✓ ✗ · █▁ ┤─┼ café'); click.echo('✗', err=True)"
)


def shown(locale: str, *, terminal: bool) -> bytes:
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "1"}
    command = [sys.executable, "-c", SAYS]
    if not terminal:
        return subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60).stdout
    leader, follower = pty.openpty()
    process = subprocess.Popen(command, env=environment, stdout=follower, stderr=follower)
    assert process.wait(60) == 0
    os.close(follower)
    data = os.read(leader, 4096)
    os.close(leader)
    return data


def test_marks_are_ascii_on_a_terminal_of_the_c_locale_and_names_stay() -> None:
    assert shown("C", terminal=True) == "+ x . #. |-+ café\r\nx\r\n".encode()


@pytest.mark.parametrize(("locale", "terminal"), [("C", False), ("C.UTF-8", True), ("en_US.UTF-8", False)])
def test_everything_else_gets_the_marks_as_they_are(locale: str, terminal: bool) -> None:
    assert shown(locale, terminal=terminal).startswith("✓ ✗ · █▁ ┤─┼ café".encode())


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, False),
        ({"LC_ALL": "C"}, True),
        ({"LANG": "POSIX"}, True),
        ({"LC_ALL": "", "LC_CTYPE": "C"}, True),
        ({"LC_ALL": "en_US.UTF-8", "LANG": "C"}, False),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
    ],
)
def test_the_first_variable_that_is_set_counts(environ: dict[str, str], expected: bool) -> None:
    assert shows_ascii_only(environ) is expected
