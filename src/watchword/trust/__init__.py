# SPDX-License-Identifier: Apache-2.0
"""Whom do we trust? Pure: resources in; bundles, problems and NetworkPolicies out.

`specs.py` is what people write, `bundle.py` what a gate reads, and `compile.py` the way between them.
"""

from watchword.trust.bundle import Bundle, BundleProblem, decode_bundle, encode_bundle, pack_bundle, seal
from watchword.trust.compile import Compilation, compile_resources
from watchword.trust.grants import authorize
from watchword.trust.manifests import Manifests, parse_manifests
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.routes import AmbiguousTargetError, RouteMatch, RouteTable, split_target
from watchword.trust.ruleset import Ruleset, load
from watchword.trust.specs import (
    API_GROUP,
    API_VERSION,
    ClusterTrustedIssuer,
    Limits,
    MeterSpec,
    ProtectedService,
    Resources,
    TrustedWorkload,
)

__all__ = [
    "API_GROUP",
    "API_VERSION",
    "AmbiguousTargetError",
    "Bundle",
    "BundleProblem",
    "ClusterTrustedIssuer",
    "Compilation",
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
