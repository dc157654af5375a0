# SPDX-License-Identifier: Apache-2.0
"""What a ready gate has imported: nothing that only other commands, settings or processes need."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.certificates import certificate, write_pair

HEAVY = {
    "aiohttp",
    "cryptography.x509",
    "h2",
    "httpx",
    "jwt",
    "kopf",
    "kubernetes",
    "opentelemetry",
    "psycopg",
    "requests",
    "urllib3",
    "watchword.gate.http2.upstream",
    "watchword.gate.proxy.protocol",
    "watchword.gate.tracing.tracer",
    "watchword.process.tls",
    "yaml",
}


def imported(folder: Path, *flags: str) -> set[str]:
    """All that a gate has imported from its start until it was ready and stopped."""
    bundle = write_bundle(folder / "bundle.json", issuer(), service(), workload())
    log = folder / "gate.log"
    with running_gate(bundle, *flags, log=log, environment={"PYTHONPROFILEIMPORTTIME": "1"}):
        pass
    found = set(re.findall(r"^import time:.*\|\s*([\w.]+)$", log.read_text(), re.MULTILINE))
    assert "watchword.gate.engine" in found
    return found


def test_a_ready_gate_has_imported_nothing_heavy_that_it_does_not_use(tmp_path: Path) -> None:
    assert imported(tmp_path) & HEAVY == set()


@pytest.mark.parametrize(
    ("flags", "needed"),
    [
        (("--upstream", "http://127.0.0.1:1"), "watchword.gate.proxy.protocol"),
        (("--trace-sample-ratio", "1"), "opentelemetry"),
    ],
)
def test_what_a_setting_needs_is_seen_by_this_very_count(
    tmp_path: Path, flags: tuple[str, ...], needed: str
) -> None:
    bundle = write_bundle(tmp_path / "bundle.json", issuer(), service(), workload())
    log = tmp_path / "gate.log"
    variables = {"PYTHONPROFILEIMPORTTIME": "1"}
    with running_gate(bundle, *flags, log=log, environment=variables, is_ready_required=False):
        pass
    found = set(re.findall(r"^import time:.*\|\s*([\w.]+)$", log.read_text(), re.MULTILINE))
    assert needed in found


def test_a_gate_with_tls_reads_certificates(tmp_path: Path) -> None:
    chain, key = write_pair(tmp_path, certificate("gate.example"))
    assert "cryptography.x509" in imported(tmp_path, "--tls-cert", str(chain), "--tls-key", str(key))
