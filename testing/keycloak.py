# SPDX-License-Identifier: Apache-2.0
"""A real Keycloak on loopback, with one realm: fetched once from Maven, kept outside of the checkout.

It runs as it would in production (`start`, built for its database first), but for plain HTTP and a database
in a file. Java 17 or newer and Maven are needed.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

VERSION = "26.4.0"
STARTS_WITHIN_SECONDS = 300
_ARTIFACT = f"org.keycloak:keycloak-quarkus-dist:{VERSION}:zip"
_COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy"


class KeycloakUnavailableError(Exception):
    """It cannot be had here; the message says what is missing."""


@dataclass(frozen=True)
class Keycloak:
    """A Keycloak that answers.

    Attributes:
        port: on loopback.
        pid: of its Java process.
        url: of the realm.
    """

    port: int
    pid: int
    url: str

    def post(self, path: str, form: Mapping[str, str], client: tuple[str, str]) -> dict[str, Any]:
        """Post a form as a client to an endpoint of the realm; returns the answer, which must be a 200."""
        answer = httpx.post(f"{self.url}{path}", data=form, auth=client, trust_env=False, timeout=60)
        if answer.status_code != 200:
            raise RuntimeError(f"{path}: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


def distribution() -> Path:
    """The folder of the unpacked distribution.

    Raises:
        KeycloakUnavailableError: it is not kept here, and cannot be fetched.
    """
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise KeycloakUnavailableError(f"{program} is not installed")
    kept = (
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "watchword" / "keycloak" / VERSION
    )
    kept.mkdir(parents=True, exist_ok=True)
    unpacked = kept / f"keycloak-{VERSION}"
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (kept / "whole").exists():
            _fetch(kept)
            (kept / "whole").touch()
    return unpacked


def _fetch(folder: Path) -> None:
    archive = folder / f"keycloak-quarkus-dist-{VERSION}.zip"
    if not archive.exists():
        command = ["mvn", "-q", "-B", _COPY, f"-Dartifact={_ARTIFACT}", f"-DoutputDirectory={folder}"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder)
        if done.returncode != 0:
            raise KeycloakUnavailableError(f"Maven has no {_ARTIFACT}: {done.stdout[-500:]}")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)


@contextmanager
def running_keycloak(
    folder: Path, port: int, realm: Mapping[str, Any], *, before: Sequence[str] = (), java_options: str = ""
) -> Iterator[Keycloak]:
    """Run it with one realm until the block ends.

    Args:
        folder: an empty one, for its copy of the distribution, its database and its log.
        port: a free port of loopback.
        realm: as Keycloak imports it; `realm` is its name.
        before: a command that its own is given to, such as `taskset -c 0`.
        java_options: for its Java processes, such as those that have it start sooner and run slower.

    Raises:
        KeycloakUnavailableError: it cannot be had here.
    """
    home = folder / "keycloak"
    shutil.copytree(distribution(), home, dirs_exist_ok=True)
    place = home / "data" / "import"
    place.mkdir(parents=True, exist_ok=True)
    (place / "realm.json").write_text(json.dumps(realm))
    program, url = str(home / "bin" / "kc.sh"), f"http://127.0.0.1:{port}/realms/{realm['realm']}"
    # zipfile keeps no permissions.
    (home / "bin" / "kc.sh").chmod(0o755)
    build = ["sh", program, "build", "--db=dev-file", "--health-enabled=false", "--metrics-enabled=false"]
    start = [
        *("sh", program, "start", "--optimized", "--import-realm", "--http-enabled=true"),
        *(f"--http-port={port}", "--http-host=127.0.0.1", f"--hostname=http://127.0.0.1:{port}"),
        *("--cache=local", "--log-level=WARN"),
    ]
    with (folder / "keycloak.log").open("wb") as log:
        environment = os.environ | ({"JAVA_OPTS_APPEND": java_options} if java_options else {})
        subprocess.run([*before, *build], check=True, stdout=log, stderr=log, env=environment)
        # The script starts Java as its child and does not hand on signals: both are one group.
        process = subprocess.Popen(
            [*before, *start], stdout=log, stderr=log, start_new_session=True, env=environment
        )
        try:
            _wait(process, url, folder / "keycloak.log")
            yield Keycloak(port, _java_of(process.pid), url)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _java_of(pid: int) -> int:
    """The Java process that a shell became or started."""
    while Path(f"/proc/{pid}/comm").read_text().strip() != "java":
        [child, *_] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pid = int(child)
    return pid


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_SECONDS
    while True:
        try:
            if httpx.get(url, trust_env=False, timeout=10).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        if process.poll() is not None or time.monotonic() > deadline:
            raise KeycloakUnavailableError(f"it did not start: {log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.2)
