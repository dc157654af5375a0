# SPDX-License-Identifier: Apache-2.0
"""nginx as ingress-nginx configures it (`auth-url`): the URL that it writes names the path that it passes on.

The controller is not run here; its template is what is followed: the question carries X-Original-URL as
`$scheme://$http_host$request_uri`, and the caller's own header of that name is replaced.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from testing.controlplane.process import reserved_port, running
from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.unavailable import skip_or_fail
from tests.gate.proxy.app import App, running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, bearer

_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid;
events {{}}
http {{
    access_log off; {temporary}
    server {{
        listen 127.0.0.1:{port} reuseport;
        underscores_in_headers on;
        location = /_external-auth-Lw-Prefix {{
            internal;
            proxy_pass_request_body off;
            proxy_set_header Content-Length "";
            proxy_set_header X-Original-URL $scheme://$http_host$request_uri;
            proxy_set_header X-Original-Method $request_method;
            proxy_set_header X-Sent-From "nginx-ingress-controller";
            proxy_set_header Host $host;
            proxy_http_version 1.1;
            proxy_pass http://{gate}/authz/ingress-nginx;
        }}
        location / {{
            auth_request /_external-auth-Lw-Prefix;
            proxy_set_header Host $http_host;
            proxy_http_version 1.1;
            proxy_pass http://127.0.0.1:{app};
        }}
    }}
}}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """The proxy, and the app behind it."""

    port: int
    app: App

    def ask(self, line: bytes, *headers: bytes, host: bytes = b"gate") -> int:
        """One request; the status of its answer, 0 where there was none."""
        lines = [line, b"Host: " + host, bearer(), b"Connection: close", *headers, b"", b""]
        with socket.create_connection(("127.0.0.1", self.port), 30) as link:
            link.sendall(b"\r\n".join(lines))
            answer = b"".join(iter(lambda: link.recv(65536), b""))
        return int(answer.split(b" ", 2)[1]) if answer else 0


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """nginx before an app, asking a gate."""
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    if program is None:
        problem = FileNotFoundError("nginx is not installed")
        skip_or_fail("proxy tests", problem, required_by="WATCHWORD_REQUIRE_PROXIES")
    folder = tmp_path_factory.mktemp("ingress")
    bundle = write_bundle(folder / "bundle.json", issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    with running_app() as app, running_gate(bundle) as gate, reserved_port() as port:
        text = _NGINX.format(
            folder=folder,
            port=port,
            gate=gate.address,
            app=app.port,
            temporary=" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
        )
        (folder / "nginx.conf").write_text(text)
        command = [str(program), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]

        def is_ready() -> bool:
            try:
                return Place(port, app).ask(b"GET /nowhere HTTP/1.1") == 403
            except OSError:
                return False

        with running(command, log=folder / "nginx.log", is_ready=is_ready, timeout_seconds=30.0):
            yield Place(port, app)


@pytest.mark.parametrize("host", [b"gate", b"gate.example:8080", b"[::1]:8080", b"10.0.0.1"])
@pytest.mark.parametrize("target", [b"/app/acme/x", b"/app/acme/x?a=http://b/c&d=%2F", b"/app/acme/a%20b"])
def test_what_is_granted_reaches_the_app(place: Place, host: bytes, target: bytes) -> None:
    assert place.ask(b"GET " + target + b" HTTP/1.1", host=host) == 200
    assert place.app.seen[-1].line.split(b" ")[1] == target


HOSTS = [
    b"evil/app/acme/x?",
    b"evil/app/acme/x#",
    b"evil\\app/acme",
    b"evil?",
    b"evil#",
    b"evil%2Fapp%2Facme%2Fx%3F",
    b"user@gate",
    b"gate,other",
    b"gate_under",
    b"gate;a",
    b"g\xc3\xa4te",
    b"",
]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("target", [b"/other/acme/secret", b"/app/rival/x", b"/"])
def test_no_host_opens_a_path_that_was_not_decided(place: Place, host: bytes, target: bytes) -> None:
    before = len(place.app.seen)
    own = (b"X-Original-URL: http://gate/app/acme/x", b"X_Original_URL: http://gate/app/acme/x")
    for headers in ((), own):
        assert place.ask(b"GET " + target + b" HTTP/1.1", *headers, host=host) != 200
        # With a slash in it, this would be a request for another path, which is granted.
        if b"/" not in host:
            absolute = b"GET http://" + (host or b"gate") + target + b" HTTP/1.1"
            assert place.ask(absolute, *headers) != 200
    assert len(place.app.seen) == before


@pytest.mark.parametrize("host", HOSTS)
def test_an_odd_host_is_refused_or_decided_on_the_path_that_passes(place: Place, host: bytes) -> None:
    before = len(place.app.seen)
    place.ask(b"GET /app/acme/x HTTP/1.1", host=host)
    assert [each.line.split(b" ")[1] for each in place.app.seen[before:]] in ([], [b"/app/acme/x"])
