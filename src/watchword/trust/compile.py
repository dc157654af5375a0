# SPDX-License-Identifier: Apache-2.0
"""Resources in; bundles, problems and NetworkPolicies out.

One object that is wrong leaves itself out and nothing else: the rest of a bundle stands. Inputs may come in
any order; the outputs are the same bytes.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from watchword.trust.agent_providers import problems_of_providers
from watchword.trust.api.v1alpha1 import Resources, TrustedWorkload
from watchword.trust.audience import AudienceRules, problems_of_shared, urls_of_issuers
from watchword.trust.bundle import Bundle
from watchword.trust.desks import DeskKeys, DeskName, ready_desks, with_desks
from watchword.trust.issuers import ready_issuers
from watchword.trust.key_rotation.held_keys import HeldKey
from watchword.trust.overlapping_selectors import problems_of_overlaps
from watchword.trust.problems import Problem
from watchword.trust.report_only import as_applied
from watchword.trust.service import Account, compile_service, problem_of_orphan


class Compilation(msgspec.Struct, frozen=True):
    """What came out.

    Attributes:
        bundles: one for each service, by namespace and name.
        problems: what was left out, and why.
        network_policies: to be applied (`mode: Enforce`).
        previews: to be shown only (`mode: Preview`).
    """

    bundles: tuple[Bundle, ...]
    problems: tuple[Problem, ...]
    network_policies: tuple[dict[str, Any], ...]
    previews: tuple[dict[str, Any], ...] = ()


def compile_resources(
    resources: Resources,
    *,
    generation: int = 1,
    keys: Mapping[str, bytes] | None = None,
    live_uids: Mapping[Account, str] | None = None,
    audiences: AudienceRules = AudienceRules(),  # noqa: B008 - frozen
    desk_keys: Mapping[DeskName, DeskKeys] | None = None,
    now: float | None = None,
    held: Mapping[str, Iterable[HeldKey]] | None = None,
) -> Compilation:
    """Compile everything. Never raises for bad resources.

    Args:
        resources: from `parse_manifests`, or from a cluster.
        generation: of the bundles; must only grow.
        keys: JWKS documents by issuer name, for sources that only I/O can read.
        live_uids: as `compile_service` takes them.
        audiences: which are derived, and which belong to others; the issuers' URLs are added to the latter.
        desk_keys: the public keys of TokenDesks by namespace and name; a desk that has none yet is named in
            bundles all the same. All desks count, whatever their namespace.
        now: seconds since the epoch, as `compile_service` takes it.
        held: what the status of each issuer says of its keys, by the issuer's name: who held a key first.
    """
    issuers = ready_issuers(resources, keys or {}, held)
    problems = [*issuers.problems, *problems_of_overlaps(resources.services)]
    problems += problems_of_shared(resources.services)
    urls = audiences.urls | urls_of_issuers(resources.issuers)
    audiences = msgspec.structs.replace(audiences, urls=urls)
    desks = ready_desks(resources.desks, desk_keys or {}, audiences)
    problems += desks.problems.values()
    problems += problems_of_providers(resources.desks, resources.providers)
    audiences = with_desks(audiences, desks)
    services = {(each.metadata.namespace, each.metadata.name): each for each in resources.services}
    workloads: dict[tuple[str, str], list[TrustedWorkload]] = {}
    for workload in resources.workloads:
        place = (workload.metadata.namespace, workload.spec.service_ref.name)
        workloads.setdefault(place, []).append(workload)
    problems += [
        problem_of_orphan(each) for place in workloads.keys() - services.keys() for each in workloads[place]
    ]
    bundles: list[Bundle] = []
    policies: list[dict[str, Any]] = []
    previews: list[dict[str, Any]] = []
    for place, service in sorted(services.items()):
        compiled = compile_service(
            service,
            workloads.get(place, ()),
            issuers,
            labels=resources.namespaces.get(place[0]),
            live_uids=live_uids,
            now=now,
            audiences=audiences,
            desks=desks,
        )
        problems += [*compiled.problems, *compiled.audience_problems]
        if compiled.desk_problem is not None:
            problems.append(compiled.desk_problem)
        if compiled.report_only is not None and compiled.report_only.problem is not None:
            problems.append(compiled.report_only.problem)
        if not compiled.bundle.audiences:
            # A gate that accepts nothing is no answer to the question what it should accept.
            continue
        bundles.append(msgspec.structs.replace(compiled.bundle, generation=generation))
        if compiled.policy is not None:
            is_applied = as_applied(service, compiled.report_only).spec.network_policy.mode == "Enforce"
            (policies if is_applied else previews).append(compiled.policy)
    ordered = sorted(
        problems, key=lambda each: (each.kind, each.namespace, each.name, each.field, each.detail)
    )
    return Compilation(tuple(bundles), tuple(ordered), tuple(policies), tuple(previews))
