# SPDX-License-Identifier: Apache-2.0
"""Which API server and credential a sidecar follows with, by flags and by what a pod has."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from watchword.cli.failures import UnusableInput
from watchword.cli.main import watchword
from watchword.cli.watch_options import FollowFlags, followed_config_map
from watchword.gate import FollowedConfigMap
from watchword.kube.names import NamespacedName
from watchword.kube.watch import Endpoint

POD = {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "KUBERNETES_SERVICE_PORT": "443"}


def flags(**given: Any) -> FollowFlags:
    everything = {
        "watch": NamespacedName("tuist", "bundle"),
        "api_server": None,
        "api_token_file": None,
        "api_ca_file": None,
        "watch_window_seconds": 60,
    }
    return FollowFlags(**{**everything, **given})  # type: ignore[typeddict-item]  # all of them are there


@pytest.fixture
def account(tmp_path: Path) -> Path:
    """The folder that the kubelet mounts."""
    (tmp_path / "ca.crt").write_text("ca")
    (tmp_path / "token").write_text("token")
    return tmp_path


def test_in_a_pod_the_name_is_enough(account: Path) -> None:
    endpoint = Endpoint(
        "https://10.0.0.1:443", ca_file=str(account / "ca.crt"), token_file=str(account / "token")
    )
    found = followed_config_map(flags(), POD, str(account))
    assert found == FollowedConfigMap(endpoint, "tuist", "bundle", 60.0)


def test_each_flag_wins_over_what_the_pod_has(account: Path) -> None:
    found = followed_config_map(flags(api_server="https://other:6443"), POD, str(account))
    assert found is not None
    assert found.endpoint.url == "https://other:6443"
    assert found.endpoint.token_file == str(account / "token")
    found = followed_config_map(flags(api_token_file="/t", api_ca_file="/c"), POD, str(account))
    assert found is not None
    assert found.endpoint == Endpoint("https://10.0.0.1:443", ca_file="/c", token_file="/t")


def test_without_a_mounted_account_no_file_is_made_up(tmp_path: Path) -> None:
    found = followed_config_map(flags(api_server="http://127.0.0.1:8001"), {}, str(tmp_path))
    assert found is not None
    assert found.endpoint == Endpoint("http://127.0.0.1:8001")


def test_without_watch_nothing_is_followed(account: Path) -> None:
    assert followed_config_map(flags(watch=None), POD, str(account)) is None


@pytest.mark.parametrize("flag", ["api_server", "api_token_file", "api_ca_file"])
def test_a_flag_that_would_do_nothing_is_refused(flag: str) -> None:
    with pytest.raises(click.UsageError, match=f"--{flag.replace('_', '-')} is given without --watch"):
        followed_config_map(flags(watch=None, **{flag: "x"}), POD)


UNUSABLE = {
    "no pod and no URL": (["--watch", "tuist/bundle"], "KUBERNETES_SERVICE_HOST"),
    "plain http to elsewhere": (["--watch", "tuist/bundle", "--api-server", "http://10.0.0.1"], "plain http"),
    "no URL": (["--watch", "tuist/bundle", "--api-server", "10.0.0.1:6443"], "not https://HOST"),
}


@pytest.mark.parametrize(("given", "said"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_followed_is_said_with_a_remedy(given: list[str], said: str) -> None:
    ended = CliRunner().invoke(watchword, ["sidecar", "--bundle", "b.json", *given], env={})
    assert ended.exit_code == UnusableInput.exit_code
    assert "--api-server: " in ended.output
    assert said in ended.output
    assert "Remedy: " in ended.output
