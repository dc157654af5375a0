# SPDX-License-Identifier: Apache-2.0
"""The loopback port of a sign-in: no other program keeps the browser out, and the browser gets its page."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import httpx
import pytest

from testing.environment import child_environment
from watchword.cli.desk.loopback import Loopback


@pytest.mark.parametrize("number", [17, 60])
def test_connections_that_say_nothing_keep_the_browser_out_of_nothing(number: int) -> None:
    with Loopback("s" * 43, "https://idp.example", must_name_issuer=False) as listener:
        host, port = listener.authority.split(":")
        links = [socket.create_connection((host, int(port))) for _ in range(number)]
        try:
            url = f"{listener.redirect_uri}?code=c&state={'s' * 43}"
            assert httpx.get(url, trust_env=False).status_code == 200
            found = listener.wait(30)
            assert found is not None
            assert found.code == "c"
        finally:
            for each in links:
                each.close()


ENDS_AT_ONCE = """
import os
from watchword.cli.desk.loopback import Loopback
with Loopback("s" * 43, "https://idp.example", must_name_issuer=False) as listener:
    print(listener.redirect_uri, flush=True)
    assert listener.wait(30) is not None
    os._exit(0)
"""


def test_the_browser_has_its_page_before_the_command_ends() -> None:
    environment = child_environment(PYTHONPATH=os.pathsep.join(each for each in sys.path if each))
    for _ in range(8):
        command = [sys.executable, "-c", ENDS_AT_ONCE]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
            assert process.stdout is not None
            uri = process.stdout.readline().strip()
            answer = httpx.get(f"{uri}?code=c&state={'s' * 43}", trust_env=False)
            assert (answer.status_code, "Return to the terminal" in answer.text) == (200, True)
            assert process.wait(30) == 0
