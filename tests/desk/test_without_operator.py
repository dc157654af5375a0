# SPDX-License-Identifier: Apache-2.0
"""A desk on files that the command line made: keys, bundles that name them, and no operator anywhere."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from testing.desk_process import DeskProcess, desk_process
from testing.running_desk import CLUSTER, DESK, default_objects, exchange_form
from watchword.cli.main import watchword

NAME = "/".join(DESK)


def ready(process: DeskProcess) -> tuple[int, Any]:
    answer = httpx.get(f"{process.ops_url}/readyz", trust_env=False)
    return answer.status_code, answer.json()


def compiled(folder: Path, *flags: str) -> Any:
    (folder / "manifests").mkdir(exist_ok=True)
    for place, each in enumerate(default_objects()):
        (folder / "manifests" / f"{place}.json").write_text(json.dumps(each))
    given = [
        "compile",
        str(folder / "manifests"),
        "--cluster-id",
        CLUSTER,
        "--out",
        str(folder / "build"),
        *flags,
    ]
    return CliRunner().invoke(watchword, given)


def give_bundles(folder: Path) -> None:
    shutil.rmtree(folder / "config/bundles")
    (folder / "config/bundles").mkdir()
    for path in (folder / "build").glob("*.bundle.json"):
        shutil.copy(path, folder / "config/bundles")


def test_bundles_that_lack_the_desks_keys_are_said_to_and_the_remedy_makes_it_issue(tmp_path: Path) -> None:
    with desk_process(tmp_path, "sqlite:///:memory:") as process:
        process.write()
        assert compiled(tmp_path).exit_code == 0
        give_bundles(tmp_path)
        url = process.start()
        status, said = ready(process)
        assert status == 503
        assert "lacks each of them" in str(said["problems"])
        assert "--jwks NAMESPACE/NAME=FILE" in said["remedy"]
        (tmp_path / "desk.jwks").write_bytes(
            httpx.get(f"{url}/.well-known/jwks.json", trust_env=False).content
        )
        done = compiled(tmp_path, "--jwks", f"{NAME}={tmp_path / 'desk.jwks'}")
        assert done.exit_code == 0, done.output
        process.stop()
        give_bundles(tmp_path)
        url = process.start()
        assert ready(process)[0] == 200
        answer = httpx.post(f"{url}/oauth2/token", data=exchange_form(), trust_env=False)
        assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("name", "document", "said"),
    [
        (NAME, "{}", "not a desk's keys"),
        (NAME, '{"keys": []}', "not a desk's keys"),
        (NAME, '{"keys": [{"kty": "EC", "kid": "cluster"}]}', "not a desk's keys"),
        (NAME, "not JSON", "not a desk's keys"),
        ("other/desk", '{"keys": []}', "names the TokenDesk 'other/desk'"),
    ],
)
def test_keys_of_a_desk_that_are_none_are_refused(
    tmp_path: Path, name: str, document: str, said: str
) -> None:
    (tmp_path / "desk.jwks").write_text(document)
    done = compiled(tmp_path, "--jwks", f"{name}={tmp_path / 'desk.jwks'}")
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "build").exists()
