# SPDX-License-Identifier: Apache-2.0
"""Turns resources into bundles, problems and NetworkPolicies. Pure: no I/O.

`api/v1alpha1/` has what people write, `bundle.py` what a gate reads, and `compile.py` leads from one to the
other.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from watchword.trust.api.v1alpha1 import (
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
from watchword.trust.bundle import Bundle, BundleError, decode_bundle, encode_bundle, pack_bundle, seal
from watchword.trust.form_bodies import FormFlaw, form_flaw, form_flaw_behind_proxy
from watchword.trust.grants import (
    EVERY,
    USAGE_READ_SCOPE,
    USAGE_WRITE_SCOPE,
    authorize,
    held_grants,
)
from watchword.trust.problems import Problem, ProblemReason
from watchword.trust.route_templates import AmbiguousTargetError, split_target
from watchword.trust.routes import RouteMatch, RouteTable
from watchword.trust.ruleset import Ruleset, load

if TYPE_CHECKING:
    from watchword.trust.compile import Compilation, compile_resources
    from watchword.trust.manifest_files import Manifests, parse_manifests

# A gate runs on bundles and never compiles: what only that needs (YAML above all) is imported when asked for.
_WHEN_ASKED = {
    "Compilation": "watchword.trust.compile",
    "Manifests": "watchword.trust.manifest_files",
    "compile_resources": "watchword.trust.compile",
    "parse_manifests": "watchword.trust.manifest_files",
}


def __getattr__(name: str) -> Any:
    if name not in _WHEN_ASKED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHEN_ASKED[name]), name)


__all__ = [
    "API_GROUP",
    "API_VERSION",
    "EVERY",
    "USAGE_READ_SCOPE",
    "USAGE_WRITE_SCOPE",
    "AmbiguousTargetError",
    "Bundle",
    "BundleError",
    "ClusterTrustedIssuer",
    "Compilation",
    "DimensionSpec",
    "FormFlaw",
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
    "form_flaw",
    "form_flaw_behind_proxy",
    "held_grants",
    "load",
    "pack_bundle",
    "parse_manifests",
    "seal",
    "split_target",
]
