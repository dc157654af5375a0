# SPDX-License-Identifier: Apache-2.0
"""nginx, Caddy, Traefik and Envoy in front of a gate that proxies, over connections that are used again.

Here a proxy passes requests of many callers over one connection: what the gate takes for the end of a message
decides whose words are whose. Each configuration passes upgrades on, as WebSockets need it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from testing.controlplane.process import reserved_port, running
from tests.proxies.front import executable

# Those with `-h2` pass on in HTTP/2: many callers' requests at once on one connection. (nginx does so for
# gRPC alone.)
PROXIES = ("nginx", "caddy", "traefik", "envoy", "caddy-h2", "traefik-h2", "envoy-h2")

_NGINX = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    {temporary}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream gate {{ server {gate}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port} reuseport;
        location / {{
            proxy_pass http://gate;
            proxy_http_version 1.1;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""
# `grpc_pass` is how nginx speaks HTTP/2 to what is behind it; its callers speak it from the first byte.
_NGINX_GRPC = """daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    {temporary}
    upstream gate {{ server {gate}; keepalive 4; }}
    server {{
        listen 127.0.0.1:{port} http2 reuseport;
        client_max_body_size 0;
        location / {{ grpc_pass grpc://gate; }}
    }}
}}
"""
_CADDY = """{{
    admin off
    persist_config off
    auto_https off
    storage file_system {folder}/storage
    servers {{
        protocols h1 h2c
    }}
}}
http://:{port} {{
    bind 127.0.0.1
    reverse_proxy {scheme}{gate}
}}
"""
_TRAEFIK = """entryPoints:
  web:
    address: 127.0.0.1:{port}
    reusePort: true
providers:
  file:
    filename: {folder}/routes.yaml
global:
  checkNewVersion: false
  sendAnonymousUsage: false
"""
_TRAEFIK_ROUTES = """http:
  routers:
    app:
      rule: PathPrefix(`/`)
      service: gate
  services:
    gate:
      loadBalancer:
        servers:
          - url: {scheme}{gate}
"""
_ENVOY = """static_resources:
  listeners:
    - name: web
      address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
      filter_chains:
        - filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": "{types}.network.http_connection_manager.v3.HttpConnectionManager"
                stat_prefix: web
                upgrade_configs: [{{upgrade_type: websocket}}, {{upgrade_type: h2c}}, {{upgrade_type: foo}}]
                http_filters:
                  - name: envoy.filters.http.router
                    typed_config:
                      "@type": "{types}.http.router.v3.Router"
                route_config:
                  virtual_hosts:
                    - name: app
                      domains: ["*"]
                      routes: [{{match: {{prefix: /}}, route: {{cluster: gate}}}}]
  clusters:
    - name: gate
      type: STATIC
      {http2}
      load_assignment:
        cluster_name: gate
        endpoints:
          - lb_endpoints:
              - endpoint: {{address: {{socket_address: {{address: {host}, port_value: {gate_port}}}}}}}
"""
_ENVOY_HTTP2 = """typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: {http2_protocol_options: {}}"""


@contextmanager
def in_front(kind: str, folder: Path, gate: str) -> Iterator[int]:
    """Run a proxy before the gate at HOST:PORT until the block ends; its port."""
    name, _, version = kind.partition("-")
    program = executable(name)
    assert program is not None, name
    with reserved_port() as port:
        command = _command(name, program, folder, gate, port, speaks_http2=version == "h2")

        def is_ready() -> bool:
            # Traefik listens before it has read its routes, and says 404 meanwhile.
            try:
                with socket.create_connection(("127.0.0.1", port), 10) as link:
                    if kind == "nginx-h2":
                        return True
                    link.sendall(b"GET /nowhere HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n\r\n")
                    return link.recv(65536).startswith((b"HTTP/1.1 401", b"HTTP/1.1 403"))
            except OSError:
                return False

        with running(command, log=folder / f"{name}.log", is_ready=is_ready, timeout_seconds=30.0):
            yield port


def _command(name: str, program: str, folder: Path, gate: str, port: int, *, speaks_http2: bool) -> list[str]:
    host, _, gate_port = gate.rpartition(":")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    values = {
        "folder": folder,
        "gate": gate,
        "host": host,
        "gate_port": gate_port,
        "port": port,
        "types": "type.googleapis.com/envoy.extensions.filters",
        "scheme": "h2c://" if speaks_http2 else {"traefik": "http://"}.get(name, ""),
        "http2": _ENVOY_HTTP2 if speaks_http2 else "",
        "temporary": "\n    ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds),
    }
    nginx = _NGINX_GRPC if speaks_http2 else _NGINX
    text = {"nginx": nginx, "caddy": _CADDY, "traefik": _TRAEFIK, "envoy": _ENVOY}[name].format(**values)
    path = folder / {"nginx": "nginx.conf", "caddy": "Caddyfile"}.get(name, f"{name}.yaml")
    path.write_text(text)
    if name == "nginx":
        return [program, "-p", str(folder), "-c", str(path), "-e", "stderr"]
    if name == "caddy":
        return ["env", f"HOME={folder}", program, "run", "--config", str(path), "--adapter", "caddyfile"]
    if name == "traefik":
        (folder / "routes.yaml").write_text(_TRAEFIK_ROUTES.format(**values))
        return [program, f"--configFile={path}"]
    flags = ["--concurrency", "1", "--use-dynamic-base-id", "--disable-hot-restart"]
    return [program, "-c", str(path), *flags]
