# SPDX-License-Identifier: Apache-2.0
"""What a cluster shows of a bundle that is not one: an error that says so, whatever kubectl prints."""

from __future__ import annotations

import json
import os

import pytest

from tests.cli.conftest import Work

NAME = {"namespace": "tuist", "name": "watchword-bundle-api"}
_NONE = "The ConfigMap tuist/watchword-bundle-api holds no bundle"
_ENTRY = "An entry of the ConfigMap tuist/watchword-bundle-api is neither text nor base64"
_OTHER = "What kubectl printed is not what was asked for"


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (json.dumps({"metadata": NAME}), _NONE),
        (json.dumps({"metadata": NAME, "data": None}), _NONE),
        (json.dumps({"metadata": NAME, "data": {"bundle.json": None}}), _NONE),
        (json.dumps({"metadata": NAME, "data": {"bundle.json": 5}}), _NONE),
        (json.dumps({"metadata": NAME, "data": []}), _NONE),
        (json.dumps({"metadata": NAME, "data": {"bundle.json": "\ud800"}}), _ENTRY),
        (json.dumps({"metadata": NAME, "binaryData": {"bundle.json": "%"}}), _ENTRY),
        (json.dumps({"metadata": NAME, "data": {"bundle.json": "{}"}}), "is not usable"),
        ("{}", "holds no bundle"),
        ("[]", _OTHER),
        ("", _OTHER),
        ("[" * 100_000, _OTHER),
    ],
)
def test_a_config_map_without_a_bundle_is_said_to_have_none(
    work: Work, monkeypatch: pytest.MonkeyPatch, printed: str, said: str
) -> None:
    work.write("printed", printed)
    work.write("bin/kubectl", f'#!/bin/sh\ncat "{work.path}/printed"\n')
    (work.path / "bin/kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{work.path}/bin{os.pathsep}{os.environ['PATH']}")
    done = work.run("explain", "{work}/token", "--service", "tuist/api")
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in " ".join(done.stderr.split())
    assert "defect" not in done.stderr
    for command in (("who-can", "a:b"), ("diff", "{work}/good")):
        assert work.run(*command).exit_code == 2
