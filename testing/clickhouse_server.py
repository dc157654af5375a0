# SPDX-License-Identifier: Apache-2.0
"""ClickHouse's engine behind ClickHouse's HTTP interface, for tests: where no server is to be had, this is.

The engine is the real one (chDB runs it in this process), on a folder of its own; the HTTP in front is the
part that the store's client uses: queries, `param_*`, forms, blocks in Native format, errors with their
codes. Settings in the URL are not looked at. `python -m testing.clickhouse_server FOLDER PORT` serves
until it is killed.
"""

from __future__ import annotations

import email
import email.policy
import gc
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from testing.controlplane.process import reserved_port

STARTS_WITHIN_SECONDS = 120
_FORMAT = re.compile(rb"\s+FORMAT\s+Native\s*\Z")
_INSERT = re.compile(rb"(INSERT INTO [^;]{1,4000}? FORMAT Native)\s*?\n", re.IGNORECASE)
_CODE = re.compile(r"Code: (\d+)")


class ClickHouseServer:
    """One such process, which can be killed and started again on the same data."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ww-ch-"))
        self._reserved = ExitStack()
        self.port = self._reserved.enter_context(reserved_port())
        self._process: subprocess.Popen[bytes] | None = None

    def dsn(self, database: str = "watchword_usage") -> str:
        """The DSN of a store of its own."""
        return f"clickhouse://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "testing.clickhouse_server",
                    str(self.folder / "data"),
                    str(self.port),
                ],
                stdout=log,
                stderr=log,
                cwd=Path(__file__).parents[1],
            )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not self._answers():
            assert self._process.poll() is None, (self.folder / "log").read_text()[-3000:]
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """End it and remove its data."""
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._reserved.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def query(self, statement: str) -> str:
        """Ask it directly, as somebody who is no store."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request("POST", "/", statement.encode())
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def _answers(self) -> bool:
        try:
            return self.query("SELECT 1").strip() == "1"
        except OSError:
            return False


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    connection_of_engine: Any = None
    engine = threading.Lock()

    def do_GET(self) -> None:
        self._serve(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(iter(self._chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._serve(body)

    def _chunk(self) -> bytes:
        size = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(size)
        self.rfile.readline()
        return data

    def _serve(self, body: bytes) -> None:
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        kind = self.headers.get("Content-Type", "")
        if kind.startswith("multipart/form-data"):
            head = f"Content-Type: {kind}\r\n\r\n".encode()
            message = email.message_from_bytes(head + body, policy=email.policy.HTTP)
            for part in message.iter_parts():
                name = part.get_param("name", header="content-disposition")
                given[str(name)] = part.get_payload(decode=True).decode()
            body = b""
        query = given.get("query", "").encode()
        statement, data = (query, body) if query else _split(body)
        parameters = {name[6:]: value for name, value in given.items() if name.startswith("param_")}
        try:
            with tempfile.NamedTemporaryFile(suffix=".native") as block:
                if data:
                    # Not beside the statement, where the engine would look for the end of it in binary data.
                    block.write(data)
                    block.flush()
                    statement = _FORMAT.sub(f" FROM INFILE '{block.name}' FORMAT Native".encode(), statement)
                # chDB keeps the parameters of all threads in one place: one statement at a time. Whose comes
                # next is open, so that writers still meet between their statements.
                with self.engine:
                    result = self.connection_of_engine.query(
                        statement, "TabSeparated", params=parameters or None
                    )
                    answer = result.bytes()
                self._answer(200, answer, [])
        except Exception as error:  # noqa: BLE001 - whatever the engine says is said to the client
            code = _CODE.search(str(error))
            headers = [("X-ClickHouse-Exception-Code", code.group(1) if code else "1002")]
            self._answer(500, str(error).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: list[tuple[str, str]]) -> None:
        self.send_response(status)
        for name, value in [*headers, ("X-ClickHouse-Timezone", "UTC"), ("X-ClickHouse-Summary", "{}")]:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: object) -> None:
        """No one reads it."""


def _split(body: bytes) -> tuple[bytes, bytes]:
    """The statement and the data of an insert that has both in its body."""
    found = _INSERT.match(body)
    return (found.group(1), body[found.end() :]) if found else (body, b"")


def main() -> None:
    """Serve a folder on a port of the loopback interface."""
    import chdb

    folder, port = sys.argv[1], int(sys.argv[2])
    _Handler.connection_of_engine = chdb.connect(folder)
    gc.disable()
    server = ThreadingHTTPServer(("127.0.0.1", port), _Handler)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    main()
