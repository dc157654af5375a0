# SPDX-License-Identifier: Apache-2.0
"""What Istio makes of the resources on its how-to page, as a configuration of the real Envoy.

Istio cannot run here, but what asks the gate is its Envoy: the `ext_authz` filter that istiod writes for an
extension provider, switched on by the shadow rules of a CUSTOM policy (istio/istio,
pilot/pkg/security/authz/builder). Providers and filters are read from the page, so that it cannot rot.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]
PAGE = Path(__file__).parents[2] / "docs/how-to/run-with-istio.md"
_BLOCK = re.compile(r"^```yaml\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_TYPE = "type.googleapis.com/envoy.extensions.filters"
_POLICY_PREFIX = "istio-ext-authz"


def write_configuration(path: Path, listen: str, gate: str, app: str) -> Path:
    """Write Envoy's configuration for these addresses, each HOST:PORT."""
    shown = _shown()
    [provider] = next(each for each in shown if "extensionProviders" in each)["extensionProviders"]
    entry, policy, patches = (
        _of(shown, kind) for kind in ("ServiceEntry", "AuthorizationPolicy", "EnvoyFilter")
    )
    # The names on the page must lead from the policy to the gate, or Istio would refuse every request.
    assert policy["spec"]["provider"]["name"] == provider["name"]
    asked = provider["envoyExtAuthzHttp"]
    host = f"{entry['metadata']['namespace']}/{entry['spec']['hosts'][0]}"
    assert (asked["service"], asked["port"]) == (host, entry["spec"]["ports"][0]["number"])
    filters = [
        *(each["value"] for each in _patches(patches, "INSERT_FIRST")),
        _shadow_rules(policy),
        _ext_authz(asked),
        *(each["value"] for each in _patches(patches, "INSERT_BEFORE")),
        {"name": "envoy.filters.http.router", "typed_config": {"@type": f"{_TYPE}.http.router.v3.Router"}},
    ]
    path.write_text(json.dumps(_envoy(filters, listen, gate, app)))
    return path


def _shown() -> list[Json]:
    return [yaml.safe_load(block) for block in _BLOCK.findall(PAGE.read_text())]


def _of(shown: list[Json], kind: str) -> Json:
    [found] = [each for each in shown if each.get("kind") == kind]
    return found


def _patches(envoy_filter: Json, operation: str) -> list[Json]:
    found = [each["patch"] for each in envoy_filter["spec"]["configPatches"]]
    return [each for each in found if each["operation"] == operation]


def _shadow_rules(policy: Mapping[str, Any]) -> Json:
    # `rules: [{}]` is every request. Shadow rules refuse nobody: they note which policy would have matched.
    assert policy["spec"]["rules"] == [{}]
    name = f"{_POLICY_PREFIX}-ns[tuist]-policy[{policy['metadata']['name']}]-rule[0]"
    everything = {"permissions": [{"any": True}], "principals": [{"any": True}]}
    return {
        "name": "envoy.filters.http.rbac",
        "typed_config": {
            "@type": f"{_TYPE}.http.rbac.v3.RBAC",
            "shadow_rules": {"action": "DENY", "policies": {name: everything}},
            "shadow_rules_stat_prefix": "istio_ext_authz_",
        },
    }


def _ext_authz(asked: Mapping[str, Any]) -> Json:
    noted = {
        "filter": "envoy.filters.http.rbac",
        "path": [{"key": "istio_ext_authz_shadow_effective_policy_id"}],
        "value": {"string_match": {"prefix": _POLICY_PREFIX}},
    }
    service = {
        "server_uri": {"uri": "http://gate", "cluster": "gate", "timeout": asked["timeout"]},
        "path_prefix": asked["pathPrefix"],
        "authorization_response": {
            "allowed_upstream_headers": _headers(asked["headersToUpstreamOnAllow"]),
        },
    }
    return {
        "name": "envoy.filters.http.ext_authz",
        "typed_config": {
            "@type": f"{_TYPE}.http.ext_authz.v3.ExtAuthz",
            "transport_api_version": "V3",
            "failure_mode_allow": asked["failOpen"],
            "status_on_error": {"code": int(asked["statusOnError"])},
            "filter_enabled_metadata": noted,
            "allowed_headers": _headers(asked["includeRequestHeadersInCheck"]),
            "http_service": service,
        },
    }


def _headers(names: list[str]) -> Json:
    return {"patterns": [{"exact": name, "ignore_case": True} for name in names]}


def _envoy(filters: list[Json], listen: str, gate: str, app: str) -> Json:
    route = {"match": {"prefix": "/"}, "route": {"cluster": "app", "timeout": "0s"}}
    manager = {
        "@type": f"{_TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "inbound_0.0.0.0_8080;",
        "normalize_path": True,  # pathNormalization BASE
        "http_filters": filters,
        "route_config": {"virtual_hosts": [{"name": "inbound", "domains": ["*"], "routes": [route]}]},
    }
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "inbound", "address": _address(listen), "filter_chains": [chain]}
    clusters = [_cluster("gate", gate), _cluster("app", app)]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def _cluster(name: str, address: str) -> Json:
    endpoint = {"endpoint": {"address": _address(address)}}
    assignment = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "type": "STATIC", "load_assignment": assignment}


def _address(address: str) -> Json:
    host, _, port = address.rpartition(":")
    return {"socket_address": {"address": host, "port_value": int(port)}}
