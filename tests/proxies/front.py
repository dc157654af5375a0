# SPDX-License-Identifier: Apache-2.0
"""nginx, Caddy, Traefik and Envoy as processes, each on the very configuration file that the how-to shows.

`istio` is Envoy again, on what Istio makes of its own page (`istio.py`).

The files name plain addresses, so that they read like a real setup; here each address is replaced by the one
of this run. A file that does not hold them is an error: a test of some other configuration proves nothing.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from testing.controlplane.process import reserved_port, running
from tests.proxies import istio
from tests.proxies.echo import Headers, Server

HERE = Path(__file__).parent
PROXIES = ("nginx", "caddy", "traefik", "envoy", "istio")
_PROGRAMS = {"istio": "envoy"}
_LISTEN, _GATE, _APP = "127.0.0.1:8080", "127.0.0.1:8443", "127.0.0.1:3000"


@dataclass(frozen=True, slots=True)
class Answer:
    """What the caller got."""

    status: int
    headers: Headers
    body: str

    def values(self, name: str) -> list[str]:
        """The values of the headers of this name."""
        return [value for key, value in self.headers if key.lower() == name.lower()]


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy with the gate and the app behind it."""

    name: str
    port: int
    gate: Server
    app: Server

    @property
    def endpoint(self) -> str:
        """The gate's path that is made for it."""
        return f"/authz/{_PROGRAMS.get(self.name, self.name)}"

    def send(self, method: str, target: str, *headers: str) -> Answer:
        """Send a request byte by byte as given, on a connection of its own.

        Raises `ConnectionError` when the proxy hangs up without an answer.
        """
        self.gate.seen.clear()
        self.app.seen.clear()
        lines = [f"{method} {target} HTTP/1.1", "Host: app.example", *headers]
        if not any(each.lower().startswith("connection:") for each in headers):
            lines.append("Connection: close")
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            return _read(connection)


def _read(connection: socket.socket) -> Answer:
    with connection.makefile("rb") as stream:
        found = re.fullmatch(rb"HTTP/1\.[01] (\d{3})[^\n]*\n", stream.readline())
        if found is None:
            raise ConnectionError("the proxy hung up without an answer")
        headers: Headers = []
        while (line := stream.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers.append((name, value.strip()))
        sizes = [int(value) for name, value in headers if name.lower() == "content-length"]
        # A connection that stays open ends its body by length; the others by closing.
        body = stream.read(sizes[0]) if sizes else stream.read()
    return Answer(int(found[1]), headers, body.decode(errors="replace"))


def executable(name: str) -> str | None:
    """The proxy's program: from this environment (Caddy, Traefik) or the system (nginx), or None."""
    places = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin"))
    return shutil.which(_PROGRAMS.get(name, name), path=places)


@contextmanager
def start_proxy(name: str, folder: Path, *, gate: Server, app: Server) -> Iterator[Front]:
    """Run a proxy between callers and the app, asking the gate, until the block ends."""
    program = executable(name)
    assert program is not None, name
    with reserved_port() as port:
        places = {_LISTEN: f"127.0.0.1:{port}", _GATE: gate.address, _APP: app.address}
        command = _COMMANDS[name](program, folder, places)

        front = Front(name, port, gate, app)

        def is_ready() -> bool:
            # Traefik listens before it has read its routes, and says 404 meanwhile.
            try:
                return front.send("GET", "/").status != 404
            except ConnectionError:
                return False

        with running(command, log=folder / f"{name}.log", is_ready=is_ready, timeout_seconds=30.0):
            yield front


def _configured(source: str, folder: Path, places: dict[str, str]) -> Path:
    text = (HERE / source).read_text()
    for shown, real in places.items():
        assert shown in text, f"{source} names no {shown}"
        text = text.replace(shown, real)
    path = folder / source
    path.write_text(text)
    return path


def _nginx(program: str, folder: Path, places: dict[str, str]) -> Sequence[str]:
    # The reserved port is shared with us, who never listen on it.
    site = _configured("nginx.conf", folder, {**places, _LISTEN: f"{places[_LISTEN]} reuseport"})
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "\n".join(f"    {kind}_temp_path {folder / kind};" for kind in kinds)
    main = folder / "main.conf"
    main.write_text(
        f"daemon off;\nmaster_process off;\npid {folder / 'nginx.pid'};\nerror_log stderr notice;\n"
        f"events {{}}\nhttp {{\n    access_log off;\n{paths}\n    include {site};\n}}\n"
    )
    return [program, "-p", str(folder), "-c", str(main), "-e", "stderr"]


def _caddy(program: str, folder: Path, places: dict[str, str]) -> Sequence[str]:
    port = places[_LISTEN].rpartition(":")[2]
    site = _configured("Caddyfile", folder, {":8080": f":{port}", _GATE: places[_GATE], _APP: places[_APP]})
    main = folder / "main.Caddyfile"
    main.write_text(
        "{\n\tadmin off\n\tpersist_config off\n\tauto_https off\n"
        f"\tstorage file_system {folder / 'storage'}\n}}\nimport {site}\n"
    )
    # Without a home it would keep its files in the working directory.
    return ["env", f"HOME={folder}", program, "run", "--config", str(main), "--adapter", "caddyfile"]


def _traefik(program: str, folder: Path, places: dict[str, str]) -> Sequence[str]:
    shared = {_LISTEN: f"{places[_LISTEN]}\n    reusePort: true"}
    main = _configured("traefik.yaml", folder, shared)
    routes = _configured("traefik-routes.yaml", folder, {_GATE: places[_GATE], _APP: places[_APP]})
    main.write_text(main.read_text().replace("filename: traefik-routes.yaml", f"filename: {routes}"))
    return [program, f"--configFile={main}"]


def _envoy(program: str, folder: Path, places: dict[str, str]) -> Sequence[str]:
    # Envoy's own file has an address and a port as two fields.
    apart = {
        _as_envoy_says(shown): _as_envoy_says(places[shown].removeprefix("http://"))
        for shown in (_LISTEN, _GATE, _APP)
    }
    site = _configured("envoy.yaml", folder, {**apart, f"http://{_GATE}": f"http://{places[_GATE]}"})
    return _envoy_command(program, site)


def _istio(program: str, folder: Path, places: dict[str, str]) -> Sequence[str]:
    configuration = folder / "istio.json"
    listen, gate, app = (places[shown] for shown in (_LISTEN, _GATE, _APP))
    return _envoy_command(program, istio.write_configuration(configuration, listen, gate, app))


def _envoy_command(program: str, site: Path) -> Sequence[str]:
    return [program, "-c", str(site), "--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart"]


def _as_envoy_says(address: str) -> str:
    host, _, port = address.rpartition(":")
    return f"{{address: {host}, port_value: {port}}}"


_COMMANDS: dict[str, Callable[[str, Path, dict[str, str]], Sequence[str]]] = {
    "nginx": _nginx,
    "caddy": _caddy,
    "traefik": _traefik,
    "envoy": _envoy,
    "istio": _istio,
}
