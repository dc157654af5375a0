# SPDX-License-Identifier: Apache-2.0
"""Write the TrustedWorkload that a refused caller lacks, ready for `kubectl apply`.

It grants what the one request needs and nothing more; without a request it grants nothing, and the scopes to
choose from are in a comment. Trust is given by the person who applies it.
"""

from typing import Any, Final

from watchword.cli.yaml_output import to_yaml
from watchword.identity import Identity, Reason, Refusal, parse_subject
from watchword.trust import RouteMatch, Ruleset

_MAX_NAME: Final = 253
_SHOWN_SCOPES: Final = 12


def missing_workload(
    decision: Identity | Refusal, ruleset: Ruleset, match: RouteMatch | None
) -> dict[str, Any] | None:
    """The object for `unknown_workload`; None for every other decision.

    Args:
        decision: what was decided.
        ruleset: what the gate would run.
        match: the route of the request that was asked about; None: there was none.
    """
    if isinstance(decision, Identity) or decision.reason is not Reason.UNKNOWN_WORKLOAD:
        return None
    proven = decision.proven
    subject = parse_subject(proven.subject) if proven is not None else None
    if proven is None or subject is None:
        return None
    namespace, _, service = ruleset.service.partition("/")
    name = f"{subject.namespace}-{subject.name}"[:_MAX_NAME].rstrip("-.")
    spec: dict[str, Any] = {
        "serviceRef": {"name": service},
        "issuerRef": {"name": proven.issuer},
        "serviceAccount": {"namespace": subject.namespace, "name": subject.name},
    }
    if match is not None and not match.is_public:
        grant: dict[str, Any] = {"scopes": [match.scope]}
        if match.account is not None:
            grant["accounts"] = [match.account]
        if match.project is not None:
            grant["projects"] = [match.project]
        spec["grants"] = [grant]
        if match.purpose is not None:
            spec["purposes"] = [match.purpose]
    return {
        "apiVersion": "watchword.dev/v1alpha1",
        "kind": "TrustedWorkload",
        "metadata": {"namespace": namespace, "name": name},
        "spec": spec,
    }


def workload_yaml(document: dict[str, Any], ruleset: Ruleset) -> str:
    """The object as YAML, with comments on what a person has to choose."""
    lines = [to_yaml(document).rstrip("\n")]
    if "grants" not in document["spec"]:
        scopes = ruleset.routes.scopes()
        some = ", ".join(scopes[:_SHOWN_SCOPES]) or "none; the service has no routes"
        lines.append(f"  # What it may do; the routes' scopes: {ascii(some)[1:-1]}")
        lines.append('  # grants: [{scopes: [SCOPE], accounts: [ACCOUNT or "*"]}]')
    caller = document["spec"]["serviceAccount"]["namespace"]
    lines.append("  # Where its calls come from, for the NetworkPolicy; in the same cluster:")
    lines.append(
        "  # from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: "
        f"{caller}}}}}, podSelector: {{}}}}]"
    )
    return "\n".join(lines)
