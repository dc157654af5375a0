# SPDX-License-Identifier: Apache-2.0
"""One cluster, a hundred callers with tokens of its API server, and the app that all proxies stand before.

The API server is real, since kube-rbac-proxy asks one about every token that it has not seen. Its issuer is a
URL of loopback, so that those who fetch keys by discovery find them; everyone trusts the same callers.
"""

import json
import shutil
import ssl
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from benchmarks.peers.process import free_port, serving
from testing.controlplane import Cluster, start_cluster, token_parts
from testing.controlplane.certificates import Authority, new_authority
from testing.gate_process import AUDIENCE, NAMESPACE, issuer, service, workload, write_bundle
from testing.grpc_server import CHECK, find_grpc_server

CALLERS = 100
SMALL, LARGE = "/api/accounts/acme/small", "/api/accounts/acme/large"
LARGE_BYTES = 32 * 1024
TOKEN_SECONDS = 3600
_SMALL_BODY = '{"account":"acme","projects":["one","two","three"],"total":3}'


@dataclass(frozen=True)
class World:
    """What every proxy is set up with.

    Attributes:
        cluster: the API server that issued the tokens.
        issuer_url: its `iss`, where discovery document and keys are served.
        issuer_authority: the file with the authority of that server's certificate.
        app_port: where the app is.
        grpc_port: where the app that speaks gRPC is.
        known: a token of each caller, by one TokenRequest each.
    """

    cluster: Cluster
    issuer_url: str
    issuer_authority: Path
    app_port: int
    grpc_port: int
    known: tuple[bytes, ...]
    _claims: tuple[dict[str, Any], ...] = field(repr=False)

    def fresh(self, count: int) -> list[bytes]:
        """Tokens as the API server would issue next: the callers' in turn, each with an id of its own."""
        return [self._fresh(self._claims[number % CALLERS]) for number in range(count)]

    def _fresh(self, claims: dict[str, Any]) -> bytes:
        return self.cluster.sign(self.cluster.token_header, {**claims, "jti": str(uuid.uuid4())}).encode()

    def write_bundle(self, path: Path) -> Path:
        """The gate's bundle: this cluster's keys, and each caller trusted to read."""
        routes = [{"path": path, "methods": ["GET"], "scope": "account:read"} for path in _routes()]
        routes.append({"path": CHECK, "methods": ["POST"], "scope": "health:check"})
        grants = [{"scopes": ["account:read"], "accounts": ["acme"]}, {"scopes": ["health:check"]}]
        limits = {"requestsPerSecond": 1_000_000, "burst": 1_000_000}
        return write_bundle(
            path,
            issuer("here", self.cluster.jwks(), iss=self.issuer_url),
            service(routes=routes, limits=limits, token={"binding": "Any"}),
            *(workload(name, "here", (NAMESPACE, name), grants=grants) for name in caller_names()),
        )


def caller_names() -> list[str]:
    """The ServiceAccounts that call."""
    return [f"caller-{number}" for number in range(CALLERS)]


@contextmanager
def running_world(folder: Path, core: int) -> Iterator[World]:
    """API server, issuer and app until the block ends; the app runs on this core."""
    with ExitStack() as stack:
        authority = new_authority(folder)
        url, publish = stack.enter_context(_issuer(authority))
        cluster = stack.enter_context(start_cluster(folder / "cluster", issuer=url))
        publish(cluster.jwks())
        cluster.create_namespace(NAMESPACE)
        for name in caller_names():
            cluster.create_service_account(NAMESPACE, name)
        _allow_callers(cluster)
        known = tuple(
            cluster.token(NAMESPACE, name, [AUDIENCE], expiration_seconds=TOKEN_SECONDS)
            for name in caller_names()
        )
        claims = tuple(token_parts(token)[1] for token in known)
        app_port = stack.enter_context(_app(folder, core))
        grpc_port = stack.enter_context(_grpc_app(folder, core))
        encoded = tuple(token.encode() for token in known)
        yield World(cluster, url, authority.path, app_port, grpc_port, encoded, claims)


def _routes() -> list[str]:
    return [path.replace("/acme/", "/{account}/") for path in (SMALL, LARGE)]


def _allow_callers(cluster: Cluster) -> None:
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "callers"}}
    rules = [
        {"nonResourceURLs": [SMALL, LARGE], "verbs": ["get"]},
        {"nonResourceURLs": [CHECK], "verbs": ["create"]},
    ]
    cluster.apply({**rbac, "kind": "ClusterRole", "rules": rules})
    group = {
        "apiGroup": "rbac.authorization.k8s.io",
        "kind": "Group",
        "name": f"system:serviceaccounts:{NAMESPACE}",
    }
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "callers"}
    cluster.apply({**rbac, "kind": "ClusterRoleBinding", "roleRef": role, "subjects": [group]})


@contextmanager
def _issuer(authority: Authority) -> Iterator[tuple[str, Any]]:
    # HTTPS, as OpenID Connect discovery demands; what it serves is known once the API server has its keys.
    served: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = served.get(self.path)
            self.send_response(404 if body is None else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    files = authority.write("issuer", "issuer", names=["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.certificate, files.private_key)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        listener.socket = context.wrap_socket(listener.socket, server_side=True)
        url = f"https://127.0.0.1:{listener.server_port}"

        def publish(jwks: dict[str, Any]) -> None:
            document = {
                "issuer": url,
                "jwks_uri": f"{url}/openid/v1/jwks",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
            served["/openid/v1/jwks"] = json.dumps(jwks).encode()
            served["/.well-known/openid-configuration"] = json.dumps(document).encode()

        thread = threading.Thread(target=listener.serve_forever, daemon=True)
        thread.start()
        try:
            yield url, publish
        finally:
            listener.shutdown()


@contextmanager
def _app(folder: Path, core: int) -> Iterator[int]:
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
    assert program is not None, "nginx is not installed"
    port, place = free_port(), folder / "app"
    place.mkdir()
    (place / "large").write_bytes(b"x" * LARGE_BYTES)
    configuration = place / "nginx.conf"
    configuration.write_text(
        _NGINX.format(place=place, port=port, small=SMALL, large=LARGE, body=_SMALL_BODY.replace('"', '\\"'))
    )
    command = [program, "-p", str(place), "-c", str(configuration), "-e", "stderr"]
    with serving([command], place / "log", core, port, _is_open) as running:
        yield running.port


@contextmanager
def _grpc_app(folder: Path, core: int) -> Iterator[int]:
    port = free_port()
    command = [str(find_grpc_server()), str(port)]
    with serving([command], folder / "grpc-app.log", core, port, _is_open) as running:
        yield running.port


def _is_open(port: int) -> bool:
    import socket

    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False


# The master of nginx runs as root, its worker as the user `nobody`, which may not read ours: one process.
_NGINX = """
daemon off; master_process off; pid {place}/nginx.pid; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 100000000; sendfile on; client_body_temp_path {place}/body;
  proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u;
  scgi_temp_path {place}/s; default_type application/json; open_file_cache max=4;
  server {{
    listen 127.0.0.1:{port};
    location = {small} {{ return 200 "{body}"; }}
    location = {large} {{ alias {place}/large; }}
  }}
}}
"""
