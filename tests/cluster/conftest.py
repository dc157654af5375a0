# SPDX-License-Identifier: Apache-2.0
"""Real API servers for this folder's tests: `cluster`, and `other_cluster` of the same `iss` and other keys.

A first build takes minutes: it happens once tests are collected and before any is timed, with its progress on
the terminal. Where it cannot happen the tests are skipped aloud, unless `WATCHWORD_REQUIRE_CLUSTER=1` (CI): a
suite that skips what it is for must not pass for a green one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import pytest

from testing.controlplane import (
    Binaries,
    BuildFailedError,
    Cluster,
    ControlPlaneUnavailableError,
    Etcd,
    find_binaries,
    start_cluster,
    start_etcd,
)
from testing.controlplane.audit import AuditLog
from testing.programs import find_uncaptured
from testing.unavailable import skip_or_fail
from tests.cluster.witness import Witness, clusters_of
from tests.shipped import user
from watchword.trust.crd.definitions import definitions

_HERE = Path(__file__).parent
_FOUND = pytest.StashKey[Binaries | ControlPlaneUnavailableError | BuildFailedError]()
_namespace_numbers = itertools.count(1)
_brought_about: dict[str, BroughtAbout] = {}


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder, so that `-m 'not cluster'` leaves all of them out."""
    if item.path.is_relative_to(_HERE):
        item.add_marker(pytest.mark.cluster)


@dataclass
class BroughtAbout:
    """What the runs of one test brought about so far, and who watches; by the API servers' URLs."""

    seen: set[str] = field(default_factory=set)
    runs: int = 0
    witnesses: dict[str, Witness] = field(default_factory=dict)


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """Hold a test that is marked `brings_about` to what the API server was told while it ran."""
    mark = pyfuncitem.get_closest_marker("brings_about")
    if mark is None:
        return (yield)
    claims, clusters = set(mark.args), clusters_of(pyfuncitem.funcargs.values())
    # With parameters, what the test claims is what all its runs bring about together.
    so_far = _brought_about.setdefault(pyfuncitem.nodeid.partition("[")[0], BroughtAbout())
    if mark.kwargs.get("with_its_fixture"):
        witnesses = [Witness(each, "0") for each in clusters]
    else:
        # Where the run before left off: an Event that it brings about may come a second later.
        witnesses = [so_far.witnesses.get(each.url) or Witness.from_now_on(each) for each in clusters]
    assert witnesses, "a test that brings something about reaches no API server through its fixtures"
    outcome = yield
    so_far.runs += 1
    is_last = so_far.runs == prod(len(mark.args[1]) for mark in pyfuncitem.iter_markers("parametrize"))
    for each in witnesses:
        missing = claims - so_far.seen
        so_far.seen |= each.seen(missing) if is_last else each.seen_by_now(missing)
        so_far.witnesses[each.cluster.url] = each
    if is_last:
        missing = claims - so_far.seen
        assert sorted(missing) == [], "claimed by its mark, and the API server was told of none of it"
    return outcome


def pytest_collection_finish(session: pytest.Session) -> None:
    """Find or build the control plane when a selected test needs it: no test's time limit runs yet."""
    is_needed = any(item.get_closest_marker("cluster") is not None for item in session.items)
    if is_needed and not session.config.option.collectonly:
        session.config.stash[_FOUND] = find_uncaptured(session.config, find_binaries)


@pytest.fixture(scope="session")
def control_plane(pytestconfig: pytest.Config) -> Binaries:
    """kube-apiserver and etcd as programs; skips, or fails, where they are not to be had."""
    found = pytestconfig.stash.get(_FOUND, None) or find_uncaptured(pytestconfig, find_binaries)
    if not isinstance(found, Binaries):
        skip_or_fail("cluster tests", found, required_by="WATCHWORD_REQUIRE_CLUSTER")
    return found


@pytest.fixture(scope="session")
def etcd(control_plane: Binaries, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """One etcd under all clusters of the session; each has a prefix of its own."""
    with start_etcd(tmp_path_factory.mktemp("etcd"), binaries=control_plane) as running:
        yield running


@pytest.fixture(scope="session")
def audit_log(tmp_path_factory: pytest.TempPathFactory) -> AuditLog:
    """What the webhook really asked of `cluster`, by the API server's own account."""
    return AuditLog(tmp_path_factory.mktemp("audit"), [user("watchword-webhook")])


@pytest.fixture(scope="session")
def cluster(
    control_plane: Binaries, etcd: Etcd, audit_log: AuditLog, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """An API server with kubeadm's default issuer and an RSA key."""
    folder = tmp_path_factory.mktemp("cluster")
    with start_cluster(folder, etcd=etcd, binaries=control_plane, flags=audit_log.flags) as running:
        yield running


@pytest.fixture(scope="session")
def other_cluster(
    control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster]:
    """Another API server that says the same `iss`, with a key and objects of its own."""
    with start_cluster(tmp_path_factory.mktemp("other"), etcd=etcd, binaries=control_plane) as running:
        yield running


@pytest.fixture
def new_namespace() -> Callable[..., str]:
    """`new_namespace(cluster, other_cluster)` makes a fresh namespace, of one name in both; returns it."""

    def create(*clusters: Cluster) -> str:
        name = f"test-{next(_namespace_numbers)}"
        for each in clusters:
            each.create_namespace(name)
        return name

    return create


@pytest.fixture(scope="session")
def crds(cluster: Cluster) -> Cluster:
    """The shared `cluster` with our kinds, and the namespace `tuist` for objects of the tests' manifests."""
    for definition in definitions():
        cluster.apply(definition)
    cluster.create_namespace("tuist")
    return cluster
