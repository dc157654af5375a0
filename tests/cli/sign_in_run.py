# SPDX-License-Identifier: Apache-2.0
"""A person at a terminal: a run of `watchword desk sign-in`, the desk and the provider, and what is kept."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import httpx

from testing.environment import child_environment
from testing.running_desk import Object, RunningDesk, Source, running_desk
from tests.desk.admin.world import objects
from watchword.cli.desk.session import path_of


class World(NamedTuple):
    """A desk, and the provider of its people."""

    desk: RunningDesk
    provider: str


@contextmanager
def started(*people: Object) -> Iterator[RunningDesk]:
    source = Source()
    source.objects = [*objects(), *people]
    with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as desk:
        yield desk


class Terminal:
    """One run of the command, in a process of its own; `url` is what it asks the person to open."""

    def __init__(self, home: Path, *flags: str, **environment: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "watchword.cli.main", "desk", "sign-in", "--no-browser", *flags],
            env=child_environment(HOME=str(home), **environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        if self.url:
            self.query = {name: value for name, [value] in parse_qs(urlsplit(self.url).query).items()}
            self.back = urlsplit(self.query["redirect_uri"])

    def ends(self) -> tuple[int, str]:
        """Its exit code, and what it says."""
        _, said = self.process.communicate(timeout=60)
        return self.process.returncode, said

    def ask(self, target: str, host: str | None = None, method: str = "GET") -> int:
        """The status that its loopback port answers a request with."""
        connection = http.client.HTTPConnection("127.0.0.1", self.back.port or 0, timeout=30)
        connection.putrequest(method, target, skip_host=True)
        if host != "":
            connection.putheader("Host", host or self.back.netloc)
        connection.endheaders()
        status = connection.getresponse().status
        connection.close()
        return status


def as_person(url: str, sub: str) -> str:
    """Sign in at the provider; where its answer leads."""
    answer = httpx.get(f"{url}&as={sub}", trust_env=False)
    assert answer.status_code == 302, answer.text
    found: str = answer.headers["location"]
    return found


def kept(home: Path, url: str, /, **changes: Any) -> Path:
    """A sign-in as the command keeps it."""
    file = home / "watchword/desk" / path_of(url).name
    file.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    document = {
        "url": url,
        "access_token": "a.b.c",
        "token_id": "0" * 32,
        "subject": "client:carol",
        "expires_at": int(time.time()) + 600,
    }
    file.write_text(json.dumps(document | changes))
    file.chmod(0o600)
    return file
