# SPDX-License-Identifier: Apache-2.0
"""What the operator says of objects that CRDs of another release let through: too wrong for it, or too new.

The CRDs here have no rules and keep every field, as older ones and newer ones would. What is refused says so,
is left out alone, and is well again once it is mended.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane import Binaries, Cluster, Etcd, start_cluster, wait_until
from testing.operated import Object, Operated
from testing.operator_process import give_back_lease, running_operator
from testing.tokens import signer
from watchword.trust.crd.definitions import definitions

PINNED = "A" * 43


class Installation:
    """A cluster with such CRDs, and one operator that can be stopped and started again."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster, self._folder = cluster, folder
        self._stack = ExitStack()
        self.operated = self._started()

    def _started(self) -> Operated:
        give_back_lease(self.cluster)
        replica = self._stack.enter_context(running_operator(self.cluster.kubeconfig, self._folder))
        replica.wait_until(replica.is_leading, "the operator leads")
        return Operated(self.cluster, replica, Path(), issuer="here")

    def stop(self) -> None:
        self._stack.close()

    def start(self) -> None:
        self.operated = self._started()


def _without_rules(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_rules(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {name: _without_rules(each) for name, each in schema.items() if name != "x-kubernetes-validations"}


def permissive(definition: Object) -> Object:
    """A CRD without rules in CEL, whose specs keep the fields that it does not know."""
    loose: Object = _without_rules(definition)
    (version,) = loose["spec"]["versions"]
    version["schema"]["openAPIV3Schema"]["properties"]["spec"]["x-kubernetes-preserve-unknown-fields"] = True
    return loose


@pytest.fixture(scope="module")
def installation(
    control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("releases")
    with start_cluster(folder / "cluster", etcd=etcd, binaries=control_plane) as cluster:
        for definition in definitions():
            cluster.apply(permissive(definition))
        made = Installation(cluster, folder)
        try:
            made.operated.apply(made.operated.trusted_issuer(signer(), name="here"))
            yield made
        finally:
            made.stop()


@pytest.fixture
def operated(installation: Installation) -> Operated:
    return installation.operated


def make(operated: Operated, kind: str, place: str) -> Object:
    """A good object of a kind, and what it needs beside it; stored."""
    issuer = operated.trusted_issuer(signer(f"key-of-{place}", "ES256"))
    service, workload = operated.service(place), operated.workload(place)
    made = {each["kind"]: each for each in (issuer, service, workload)}[kind]
    operated.apply(*([made] if kind == "ClusterTrustedIssuer" else [service, workload]))
    return made


GOOD = {
    "ClusterTrustedIssuer": "KeysTrusted",
    "ProtectedService": "BundleCurrent",
    "TrustedWorkload": "Trusted",
}
# One field that breaks a rule, what the message names, and how it is mended.
WRONG: dict[str, tuple[Object, str, Object]] = {
    "ClusterTrustedIssuer": (
        {"rotation": {"approved": ["=" * 43]}},
        "spec.rotation.approved",
        {"rotation": {"approved": [PINNED]}},
    ),
    "ProtectedService": ({"upstreamPort": 8443}, "spec.upstreamPort", {"upstreamPort": 8080}),
    "TrustedWorkload": (
        {"serviceAccount": {"name": "*"}},
        "spec.serviceAccount.name",
        {"serviceAccount": {"name": "atlas"}},
    ),
}


@pytest.mark.brings_about(
    *(f"{kind}/Ready/InvalidField" for kind in GOOD),
    *(f"{kind}/Event/InvalidField" for kind in GOOD),
    *(f"{kind}/Event/{reason}" for kind, reason in GOOD.items()),
)
@pytest.mark.parametrize("kind", GOOD)
def test_a_field_that_is_wrong_is_named_and_the_object_is_well_again_once_it_is_mended(
    operated: Operated, kind: str
) -> None:
    made = make(operated, kind, operated.new_namespace())
    operated.wait_for(made, f"Ready/{GOOD[kind]}")
    wrong, field, mended = WRONG[kind]
    operated.edit(made, **wrong)
    operated.wait_for(made, "Ready/InvalidField")
    assert field in operated.condition(made, "Ready")["message"]
    operated.wait_for_event(made, "InvalidField", "Warning", field)
    operated.edit(made, **mended)
    operated.wait_for(made, f"Ready/{GOOD[kind]}")
    operated.wait_for_event(made, GOOD[kind], "Normal")


@pytest.mark.brings_about(
    *(f"{kind}/Ready/NewerThanOperator" for kind in GOOD),
    *(f"{kind}/Event/NewerThanOperator" for kind in GOOD),
)
@pytest.mark.parametrize("kind", GOOD)
def test_a_field_of_a_newer_release_is_said_to_be_one(operated: Operated, kind: str) -> None:
    made = make(operated, kind, operated.new_namespace())
    operated.wait_for(made, f"Ready/{GOOD[kind]}")
    operated.edit(made, ofTomorrow={"level": 11})
    operated.wait_for(made, "Ready/NewerThanOperator")
    assert "spec.ofTomorrow" in operated.condition(made, "Ready")["message"]
    operated.wait_for_event(made, "NewerThanOperator", "Warning", "spec.ofTomorrow")


@pytest.mark.brings_about("ProtectedService/BundlePublished/Frozen", "ProtectedService/Event/Frozen")
def test_an_operator_that_starts_after_a_newer_object_was_written_leaves_its_bundle_alone(
    installation: Installation,
) -> None:
    place = installation.operated.new_namespace()
    workload = make(installation.operated, "TrustedWorkload", place)
    service = installation.operated.service(place)
    installation.operated.wait_for(service, "BundlePublished/Published")
    installation.operated.wait_for(workload, "Ready/Trusted")
    before = installation.operated.config_map(place)
    installation.stop()
    installation.operated.edit(workload, ofTomorrow=True)
    installation.start()
    installation.operated.wait_for(service, "BundlePublished/Frozen")
    installation.operated.wait_for_event(service, "Frozen", "Warning")
    assert installation.operated.config_map(place) == before


def test_beside_an_object_that_is_not_understood_others_are_put_out_as_ever(
    installation: Installation,
) -> None:
    place = installation.operated.new_namespace()
    frozen = make(installation.operated, "TrustedWorkload", place)
    issuer = frozen["spec"]["issuerRef"]["name"]
    others = [
        installation.operated.workload(place, name, (place, name), issuerRef={"name": issuer})
        for name in ("deleted", "suspended")
    ]
    installation.operated.apply(*others)
    for each in (frozen, *others):
        installation.operated.wait_for(each, "Ready/Trusted")
    installation.operated.wait_for(installation.operated.service(place), "BundlePublished/Published")
    installation.stop()
    installation.operated.edit(frozen, ofTomorrow=True)
    installation.start()
    installation.operated.wait_for(installation.operated.service(place), "BundlePublished/Frozen")

    installation.operated.delete(others[0])
    installation.operated.edit(others[1], suspend=True)
    wait_until(
        lambda: rows(installation.operated, place) == {frozen["metadata"]["name"]: False, "suspended": True},
        what="the others are out",
        timeout_seconds=60,
    )
    # And what is not understood can itself be taken back.
    installation.operated.edit(frozen, suspend=True)
    wait_until(
        lambda: rows(installation.operated, place) == {frozen["metadata"]["name"]: True, "suspended": True},
        what="it is suspended",
        timeout_seconds=60,
    )
    installation.operated.delete(frozen)
    wait_until(
        lambda: rows(installation.operated, place) == {"suspended": True},
        what="it is out",
        timeout_seconds=60,
    )


def rows(operated: Operated, place: str) -> dict[str, bool]:
    """Whether each workload of the published bundle is suspended, by its name."""
    bundle = operated.bundle(place)
    return {} if bundle is None else {row.name: row.suspended for row in bundle.workloads}
