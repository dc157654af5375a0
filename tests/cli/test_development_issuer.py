# SPDX-License-Identifier: Apache-2.0
"""`watchword dev` started again on a folder that pins the key of the time before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from testing.manifests import issuer, service, workload
from watchword.cli.dev.issuer import DevelopmentIssuer
from watchword.cli.dev.source import FolderSource

WARNING = "does not pin the key that this process signs with"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for each in (service(), workload(issuerRef={"name": "development"})):
        (tmp_path / f"{each['kind']}.json").write_text(json.dumps(each))
    return tmp_path


def said(folder: Path, capsys: pytest.CaptureFixture[str], *issuers: DevelopmentIssuer) -> str:
    FolderSource(folder, None, issuers).first()
    return " ".join(capsys.readouterr().err.split())


def test_a_key_that_the_folder_does_not_pin_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before, now = DevelopmentIssuer(), DevelopmentIssuer()
    assert WARNING not in said(folder, capsys, now)
    (folder / "issuer.json").write_text(json.dumps(before.manifest()))
    assert WARNING not in said(folder, capsys, before)
    found = said(folder, capsys, now)
    assert f"ClusterTrustedIssuer development of the folder {WARNING}" in found
    assert "watchword pin" in found
    # Pinned under another name, which a workload may name.
    renamed = before.manifest() | {"metadata": {"name": "local"}}
    (folder / "issuer.json").write_text(json.dumps(renamed))
    assert "ClusterTrustedIssuer local of the folder" in said(folder, capsys, now)


def test_what_stands_for_no_development_issuer_is_not_spoken_of(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "issuer.json").write_text(json.dumps(issuer("production")))
    assert WARNING not in said(folder, capsys, DevelopmentIssuer())
    (folder / "issuer.json").write_text(json.dumps(DevelopmentIssuer().manifest()))
    assert WARNING not in said(folder, capsys)
