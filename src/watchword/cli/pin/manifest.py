# SPDX-License-Identifier: Apache-2.0
"""A ClusterTrustedIssuer as text for review: what a person compares is next to what it decides.

Names and keys come from another cluster. Each is quoted, so that nothing in them can become another field; so
are the members `n` and `y` of a key, which kubectl would read as booleans.
"""

from collections.abc import Sequence
from typing import Any

from watchword.cli.pin.sources import Source
from watchword.cli.pin_pem import kid_of_kubernetes
from watchword.cli.yaml_output import quoted, scalar
from watchword.identity import Key, public_jwk


def inline_manifest(name: str, issuer: str, keys: Sequence[Key]) -> dict[str, Any]:
    """The object that trusts these keys and no others, until someone edits it."""
    return _object(name, {"issuer": issuer, "keys": {"inline": {"keys": [_jwk(key) for key in keys]}}})


def inline_yaml(name: str, issuer: str, keys: Sequence[Key]) -> str:
    """`inline_manifest` for people."""
    lines = [*_head(name, issuer), "    inline:", "      keys:"]
    for key in keys:
        lines += [f"      # thumbprint {key.thumbprint} (RFC 7638)", f"      # kid: {_derivation(key)}"]
        for place, (member, value) in enumerate(_jwk(key).items()):
            lines.append(f"      {'-' if place == 0 else ' '} {scalar(member)}: {quoted(value)}")
    return "\n".join(lines) + "\n"


def following_manifest(
    name: str, issuer: str, keys: Sequence[Key], source: Source, policy: str
) -> dict[str, Any]:
    """The object that follows the issuer's keys from here on, with the present ones approved."""
    discovery = {"jwksURL": source.jwks_url, "caBundle": source.ca_bundle}
    rotation = {"policy": policy, "approved": [key.thumbprint for key in keys]}
    spec = {
        "issuer": issuer,
        "keys": {"discovery": {field: value for field, value in discovery.items() if value}},
        "rotation": rotation,
    }
    return _object(name, spec)


def following_yaml(name: str, issuer: str, keys: Sequence[Key], source: Source, policy: str) -> str:
    """`following_manifest` for people."""
    fields = {"jwksURL": source.jwks_url, "caBundle": source.ca_bundle}
    written = [f"      {field}: {quoted(value)}" for field, value in fields.items() if value]
    lines = [*_head(name, issuer), "    discovery:" if written else "    discovery: {}", *written]
    if source.is_api_server:
        lines += [
            "      # An API server answers its cluster's own ServiceAccounts only. Put a token of one with",
            "      # system:service-account-issuer-discovery into a Secret of the operator's",
            "      # namespace, labelled watchword.dev/issuer-credential: (this issuer's name) and annotated",
            "      # watchword.dev/host: (the API server's HOST:PORT), and name it:",
            "      # credentialSecretRef: {namespace: watchword-system, name: SECRET}",
        ]
    lines += ["  rotation:", f"    policy: {policy}", "    approved:"]
    for key in keys:
        lines += [f"    # {key.algorithm}, kid {quoted(key.kid)}", f"    - {quoted(key.thumbprint)}"]
    return "\n".join(lines) + "\n"


def _object(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "watchword.dev/v1alpha1",
        "kind": "ClusterTrustedIssuer",
        "metadata": {"name": name},
        "spec": spec,
    }


def _head(name: str, issuer: str) -> list[str]:
    return [
        "apiVersion: watchword.dev/v1alpha1",
        "kind: ClusterTrustedIssuer",
        f"metadata: {{name: {quoted(name)}}}",
        "spec:",
        f"  issuer: {quoted(issuer)}",
        "  keys:",
    ]


def _jwk(key: Key) -> dict[str, str]:
    """Only what is needed to verify: certificates and vendor members do not belong into a pin."""
    return {"kid": key.kid, "alg": key.algorithm, "use": "sig", **public_jwk(key)}


def _derivation(key: Key) -> str:
    own = kid_of_kubernetes(key.public_key)
    return "kube-apiserver's own" if own == key.kid else f"kube-apiserver's would be {own}"
