# SPDX-License-Identifier: Apache-2.0
"""What gates run on where a service is newer than the operator: the real controller, writing to a server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from prometheus_client import CollectorRegistry, Counter

from testing import manifests
from tests.operator.objects import remove, take
from tests.operator.test_desk_controller import NOW, Guard, Server
from tests.operator.test_desk_controller import desk as token_desk
from watchword.kube.names import NamespacedName
from watchword.kube.requests import ObjectClient
from watchword.operator.cache import Cache
from watchword.operator.controllers.bundle import bundle_entries
from watchword.operator.controllers.service import ServiceController
from watchword.operator.metrics import OperatorMetrics
from watchword.operator.owned_objects import (
    FIELD_MANAGER,
    PLURALS,
    OwnedObjects,
    bundle_name,
)
from watchword.operator.pods import PodIndex
from watchword.trust import Bundle, compile_resources, seal
from watchword.trust.audience import AudienceRules
from watchword.trust.bundle import decode_bundle
from watchword.trust.bundle_forms import newest
from watchword.trust.desks import Desks, ready_desks
from watchword.trust.issuers import Issuers, ready_issuers
from watchword.trust.report_only import ALLOWED, REPORT_ONLY_LABEL

NAME = NamespacedName("tuist", "tuist-server")
OTHER = "other"
ALLOWING = {REPORT_ONLY_LABEL: ALLOWED}
DESK_URL = "https://desk.example.com"
RULES = AudienceRules(cluster_id="cluster-uid")


class Judged:
    """Issuers and desks, judged."""

    def __init__(self, issuers: Issuers, desks: Desks) -> None:
        self.issuers, self.desks = issuers, desks


class World:
    """A service that was published by an operator that understood it, and one that does not: it is `now`."""

    def __init__(self, now: Mapping[str, Any] = MappingProxyType({"ofTomorrow": True}), **spec: Any) -> None:
        made = manifests.service(audiences=["https://api.example.com", DESK_URL], **spec)
        workloads = [manifests.workload(), manifests.workload(OTHER, "other")]
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "tuist", "labels": ALLOWING},
        }
        published = manifests.parsed(namespace, manifests.issuer(), made, *workloads).resources
        self.server, self.cache = Server(), Cache()
        self.judged = Judged(ready_issuers(published, {}), Desks())
        self._publish(compile_resources(published, audiences=RULES, now=NOW).bundles[0])
        self.cache.take_namespace("kube-system", "cluster-uid", {})
        self.cache.take_namespace("tuist", "uid-tuist", ALLOWING)
        status = {"bundle": {"configMap": bundle_name(NAME.name), "generation": 1, "digest": "-"}}
        take(self.cache, made | {"spec": {**made["spec"], **now}}, uid="uid-1", status=status)
        for each in workloads:
            take(self.cache, each)
        counter = Counter("requests", "Requests.", ["verb", "resource", "code"], registry=CollectorRegistry())
        client = ObjectClient(
            self.server,  # type: ignore[arg-type]  # of a client, requests alone are made
            Guard(),
            counter,
            field_manager=FIELD_MANAGER,
            plurals=PLURALS,
        )
        self.controller = ServiceController(
            self.cache,
            client,
            issuers=self.judged,
            desks=self.judged,
            pods=PodIndex(self.cache.labels_of),
            owned=OwnedObjects(),
            metrics=OperatorMetrics(),
            clock=lambda: NOW,
        )
        self.controller.remember_unread()

    def _publish(self, bundle: Bundle) -> None:
        path = f"/api/v1/namespaces/{NAME.namespace}/configmaps/{bundle_name(NAME.name)}"
        member, texts = bundle_entries(seal(bundle, 1))
        owner = {
            "apiVersion": manifests.API,
            "kind": "ProtectedService",
            "name": NAME.name,
            "uid": "uid-1",
            "controller": True,
        }
        metadata = {
            "namespace": NAME.namespace,
            "name": bundle_name(NAME.name),
            "uid": "uid-2",
            "resourceVersion": "1",
            "ownerReferences": [owner],
        }
        self.server.objects[path] = {"kind": "ConfigMap", "metadata": metadata, member: texts}

    def published(self) -> Bundle:
        asyncio.run(self.controller.reconcile(NAME, 0.0))
        document = self.server.config_map(NAME.namespace, bundle_name(NAME.name))
        assert document is not None
        found = newest({name: text.encode() for name, text in document["data"].items()})
        assert found is not None
        return decode_bundle(found)

    def add_desk(self) -> None:
        desks = manifests.parsed(token_desk(issuer=DESK_URL)).resources.desks
        self.judged.desks = ready_desks(desks, {}, RULES)


@pytest.fixture
def world() -> World:
    return World()


def test_an_audience_that_became_a_desks_url_does_not_stand(world: World) -> None:
    assert DESK_URL in world.published().audiences
    world.add_desk()
    found = world.published().audiences
    assert DESK_URL not in found
    assert "https://api.example.com" in found


def test_the_rules_are_made_once_for_all_services_until_desks_change(world: World) -> None:
    rules = world.controller.service_audience_rules
    assert world.controller.service_audience_rules is rules
    world.add_desk()
    now = world.controller.service_audience_rules
    assert now is world.controller.service_audience_rules
    assert (rules.is_reserved(DESK_URL), now.is_reserved(DESK_URL)) == (False, True)
    # A desk is judged against what belongs to others, and its own URL is not among that.
    assert not world.controller.audience_rules.is_reserved(DESK_URL)


# As an operator finds them that is newer than the CRDs, or refuses what the release before took.
WRONG: list[dict[str, Any]] = [
    {"routes": [{"path": "no slash", "methods": ["GET"], "scope": "a:b"}]},
    {"audiences": []},
    {"audiences": None, "port": "eighty", "selector": 7, "upstreamPort": -1},
    {"port": 0, "ofTomorrow": True},
    {"limits": {"requestsPerSecond": -1}, "tokenDeskRef": [], "token": "x"},
]


@pytest.mark.parametrize("now", WRONG)
def test_trust_can_be_taken_back_from_a_service_that_was_wrong_when_the_operator_started(
    now: dict[str, Any],
) -> None:
    world = World(now)
    before = world.published()
    assert {row.name for row in before.workloads} == {"atlas", "other"}
    remove(world.cache, manifests.workload(OTHER, "other"))
    found = world.published()
    assert {row.name for row in found.workloads} == {"atlas"}
    assert (found.audiences, found.routes, found.limits) == (before.audiences, before.routes, before.limits)
    take(world.cache, manifests.workload(suspend=True))
    assert not [row for row in world.published().workloads if not row.suspended]


def test_no_one_new_comes_in_to_a_service_that_is_wrong() -> None:
    world = World({"port": 0})
    take(world.cache, manifests.workload("late", "late"))
    assert {row.name for row in world.published().workloads} == {"atlas", "other"}


@pytest.mark.parametrize("is_allowed", [True, False])
def test_report_only_of_a_service_that_is_wrong_ends_with_the_label(is_allowed: bool) -> None:
    until = datetime.fromtimestamp(NOW + 86400, UTC).isoformat().replace("+00:00", "Z")
    world = World({"port": 0}, reportOnlyUntil=until)
    world.cache.take_namespace("tuist", "uid-tuist", ALLOWING if is_allowed else {}, 2)
    assert (world.published().report_only_until is not msgspec.UNSET) == is_allowed
