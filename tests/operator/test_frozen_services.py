# SPDX-License-Identifier: Apache-2.0
"""What gates run on where a service is newer than the operator: the real controller, writing to a server."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter

from testing import manifests
from tests.operator.objects import take
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

NAME = NamespacedName("tuist", "tuist-server")
DESK_URL = "https://desk.example.com"
RULES = AudienceRules(cluster_id="cluster-uid")


class Judged:
    """Issuers and desks, judged."""

    def __init__(self, issuers: Issuers, desks: Desks) -> None:
        self.issuers, self.desks = issuers, desks


class World:
    """A service that was published by an operator that understood it, and one that does not."""

    def __init__(self, **spec: Any) -> None:
        made = manifests.service(audiences=["https://api.example.com", DESK_URL], **spec)
        published = manifests.parsed(manifests.issuer(), made, manifests.workload()).resources
        self.server, self.cache = Server(), Cache()
        self.judged = Judged(ready_issuers(published, {}), Desks())
        self._publish(compile_resources(published, audiences=RULES).bundles[0])
        self.cache.take_namespace("kube-system", "cluster-uid", {})
        self.cache.take_namespace("tuist", "uid-tuist", {})
        status = {"bundle": {"configMap": bundle_name(NAME.name), "generation": 1, "digest": "-"}}
        take(self.cache, made | {"spec": made["spec"] | {"ofTomorrow": True}}, uid="uid-1", status=status)
        take(self.cache, manifests.workload())
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
