# SPDX-License-Identifier: Apache-2.0
"""Prints what every flood came to, and writes it where `WATCHWORD_FLOODS_TABLE` says, for the docs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from testing.controlplane import (
    BuildFailedError,
    Cluster,
    ControlPlaneUnavailableError,
    find_binaries,
    start_cluster,
)
from testing.framing.recorder import Recorder, recording
from testing.gate_process import Gate, running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.unavailable import skip_or_fail
from tests.floods.report import RESULTS, table
from tests.gate.proxy.conftest import GRANTS, ROUTES
from watchword.trust.crd.definitions import definitions

_HERE = Path(__file__).parent


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test of this folder, so that `-m 'not floods'` leaves all of them out."""
    if item.path.is_relative_to(_HERE):
        item.add_marker(pytest.mark.floods)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    if RESULTS:
        terminalreporter.section("floods")
        terminalreporter.write_line(table())
        if path := os.environ.get("WATCHWORD_FLOODS_TABLE"):
            Path(path).write_text(table() + "\n")


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One trusted workload that may use the app, and read and write usage, for one account."""
    routes = [
        *ROUTES,
        {"path": "/usage/{account}", "methods": ["GET"], "scope": "account:usage:read"},
    ]
    objects = (issuer(), service(routes=routes), workload(grants=GRANTS))
    return write_bundle(tmp_path_factory.mktemp("floods") / "bundle.json", *objects)


@pytest.fixture(scope="module")
def gate(bundle: Path) -> Iterator[Gate]:
    """A gate that only decides and keeps usage."""
    with running_gate(bundle, log=bundle.with_name("gate.log")) as running:
        yield running


@pytest.fixture(scope="module")
def own_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real API server with our kinds, and an etcd that no other test fills."""
    try:
        binaries = find_binaries()
    except (ControlPlaneUnavailableError, BuildFailedError) as problem:
        skip_or_fail("floods", problem, required_by="WATCHWORD_REQUIRE_CLUSTER")
    with start_cluster(tmp_path_factory.mktemp("floods"), binaries=binaries) as running:
        for definition in definitions():
            running.apply(definition)
        yield running


@pytest.fixture(scope="module")
def app() -> Iterator[Recorder]:
    """An app that answers."""
    with recording() as running:
        yield running


@pytest.fixture(scope="module")
def proxying_gate(bundle: Path, app: Recorder) -> Iterator[Gate]:
    """A gate with `--upstream`."""
    flags = ("--upstream", app.url, "--usage-dsn", f"sqlite:///{bundle.with_name('proxying.db')}")
    with running_gate(bundle, *flags, log=bundle.with_name("proxying.log")) as running:
        yield running
