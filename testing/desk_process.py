# SPDX-License-Identifier: Apache-2.0
"""The real `watchword desk` as a process on a folder of files, that can be killed and started again."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testing.logs import log_lines
from testing.running_desk import CLUSTER, DESK, Object, Source, default_objects
from watchword.desk.configuration import Configuration
from watchword.trust import encode_bundle

STARTS_WITHIN_SECONDS = 60


class DeskProcess:
    """A desk on a folder, and its store."""

    def __init__(self, folder: Path, store: str, *flags: str) -> None:
        self.folder, self.store, self.flags = folder, store, flags
        self.log = folder / "desk.log"
        self._process: subprocess.Popen[bytes] | None = None
        self.source = Source()

    def write(self, *objects: Object) -> None:
        """Put the objects, the bundles that they come to and the keys into the folder."""
        self.source.objects = list(objects) or default_objects()
        configuration = self.source.compile()
        assert isinstance(configuration, Configuration), configuration
        config = self.folder / "config"
        for part in ("bundles", "keys"):
            (config / part).mkdir(parents=True, exist_ok=True)
        for place, record in enumerate(reversed(self.source.keys)):
            (config / "keys" / f"{place:03}.pem").write_bytes(record.key.pem())
        for bundle in configuration.bundles:
            path = config / "bundles" / f"{bundle.service.namespace}.{bundle.service.name}.json"
            path.write_bytes(encode_bundle(bundle))
        kept = [
            each
            for each in self.source.objects
            if each["kind"] in ("TokenDesk", "DeskClient", "AgentProvider")
        ]
        (config / "desk.json").write_text("\n---\n".join(map(json.dumps, kept)))

    def start(self) -> str:
        """Start it and return its URL once it is ready."""
        if not (self.folder / "config").exists():
            self.write()
        said_before = len(log_lines(self.log))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "watchword.cli.main", "desk"),
                    *("--token-desk", "/".join(DESK), "--store", self.store),
                    *("--config-folder", str(self.folder / "config"), "--cluster-id", CLUSTER),
                    *("--listen", "127.0.0.1:0", "--ops-listen", "127.0.0.1:0"),
                    *("--address-rate", "0", "--subject-rate", "0", *self.flags),
                ],
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        said: dict[str, dict[str, Any]] = {}
        while not {"listening", "configuration in use"} <= said.keys():
            assert self._process.poll() is None, self.log.read_text()[-3000:]
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.02)
            said = {line["message"]: line for line in log_lines(self.log)[said_before:] if "message" in line}
        self.ops_url = f"http://{said['listening']['ops_listen']}"
        return f"http://{said['listening']['listen']}"

    @property
    def pid(self) -> int:
        """The process id of its present life."""
        assert self._process is not None, "it does not run"
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(timeout=60)
        self._process = None
        return code


@contextmanager
def desk_process(folder: Path, store: str, *flags: str) -> Iterator[DeskProcess]:
    """A desk that is stopped at the end of the block, whatever became of it."""
    process = DeskProcess(folder, store, *flags)
    try:
        yield process
    finally:
        process.stop()
