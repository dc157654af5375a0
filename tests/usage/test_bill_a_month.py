# SPDX-License-Identifier: Apache-2.0
"""The commands of bill-a-month.md, run as printed with a gate and a store that are here."""

from __future__ import annotations

import csv
import io
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from testing.usage_samples import envelope, events
from tests.e2e.reader import ROOT, blocks_of
from tests.gate.test_process import token
from watchword.usage import Meter, open_store

PAGE = ROOT / "docs/how-to/bill-a-month.md"
METERS = [Meter("bytes", "cache.hit", "sum", "/bytes"), Meter("hits", "cache.hit", "count")]


def test_the_commands_give_what_the_page_says(tmp_path: Path) -> None:
    text = PAGE.read_text()
    dsn = f"sqlite:///{tmp_path}/usage.db"
    with closing(open_store(dsn)) as store:
        sent = [
            envelope(id="1", time="2020-10-01T00:00:00Z", data={"bytes": 1234567}),
            *(envelope(id=f"h{n}", time="2020-10-31T23:59:59.9Z", data={"bytes": 0}) for n in range(40)),
            envelope(id="2", time="2020-10-31T19:59:59-04:00", data={"bytes": 0.25}),
            envelope(id="3", time="2020-10-31T20:00:00-04:00", data={"bytes": 9}),
        ]
        store.ingest(events(*sent), METERS)
    specs = [
        {"name": "bytes", "eventType": "cache.hit", "aggregation": "sum", "value": "/bytes", "unit": "bytes"},
        {"name": "hits", "eventType": "cache.hit", "aggregation": "count"},
    ]
    grants = [{"scopes": ["account:usage:read"], "accounts": ["*"]}]
    objects = (issuer(), service(usage={"meters": specs, "lateDays": 7}), workload(grants=grants))
    (tmp_path / "token").write_bytes(token())
    with running_gate(write_bundle(tmp_path / "bundle.json", *objects), "--usage-dsn", dsn) as gate:
        script = "\n".join(["set -eu", f'watchword() {{ {sys.executable} -m watchword.cli.main "$@"; }}'])
        for block in blocks_of(text):
            script += f"\n{block}"
        for printed, here in (
            ("https://tuist-server.tuist.svc:8443", gate.url),
            ("/var/run/secrets/watchword.dev/token", str(tmp_path / "token")),
            ("postgresql://watchword@db/usage", dsn),
            # A month that is past, whatever the clock of this machine says.
            ("2026-10", "2020-10"),
            ("2026-11", "2020-11"),
        ):
            assert printed in script
            script = script.replace(printed, here)
        done = subprocess.run(
            ["bash", "-c", script],
            env={"PATH": os.environ["PATH"], "NO_PROXY": "*", "PYTHONPATH": f"{ROOT / 'src'}"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    printed = text.partition("```csv\n")[2].partition("```")[0].replace("2026-", "2020-")
    assert (tmp_path / "2020-10.csv").read_text() == printed
    assert (tmp_path / "from-the-store.csv").read_text() == printed
    assert printed in done.stdout
    assert "The amounts equal the events" in done.stdout
    exported = csv.DictReader(io.StringIO((tmp_path / "acme-2020-10.csv").read_text()))
    assert sum(1 for _ in exported) == 42
