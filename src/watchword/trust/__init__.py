# SPDX-License-Identifier: Apache-2.0
"""Whom do we trust? Pure: resources in; bundles, problems and NetworkPolicies out.

`specs.py` is what people write, `bundle.py` what a gate reads, and `compile.py` the way between them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from watchword.trust.bundle import Bundle, BundleProblem, decode_bundle, encode_bundle, pack_bundle, seal
from watchword.trust.grants import EVERY, authorize
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.routes import AmbiguousTargetError, RouteMatch, RouteTable, split_target
from watchword.trust.ruleset import Ruleset, load
from watchword.trust.specs import (
    API_GROUP,
    API_VERSION,
    ClusterTrustedIssuer,
    DimensionSpec,
    Limits,
    MeterSpec,
    ProtectedService,
    Resources,
    TrustedWorkload,
)

if TYPE_CHECKING:
    from watchword.trust.compile import Compilation, compile_resources
    from watchword.trust.manifests import Manifests, parse_manifests

# A gate runs on bundles and never compiles: what only that needs (YAML above all) is imported when asked for.
_WHEN_ASKED = {
    "Compilation": "watchword.trust.compile",
    "Manifests": "watchword.trust.manifests",
    "compile_resources": "watchword.trust.compile",
    "parse_manifests": "watchword.trust.manifests",
}


def __getattr__(name: str) -> Any:
    if name not in _WHEN_ASKED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHEN_ASKED[name]), name)


__all__ = [
    "API_GROUP",
    "API_VERSION",
    "EVERY",
    "AmbiguousTargetError",
    "Bundle",
    "BundleProblem",
    "ClusterTrustedIssuer",
    "Compilation",
    "DimensionSpec",
    "Limits",
    "Manifests",
    "MeterSpec",
    "Problem",
    "ProblemReason",
    "ProtectedService",
    "Resources",
    "RouteMatch",
    "RouteTable",
    "Ruleset",
    "TrustedWorkload",
    "authorize",
    "compile_resources",
    "decode_bundle",
    "encode_bundle",
    "load",
    "pack_bundle",
    "parse_manifests",
    "seal",
    "split_target",
]
