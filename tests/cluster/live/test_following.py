# SPDX-License-Identifier: Apache-2.0
"""A real gate follows edits of its ConfigMap, takes none that it should not, and says which and why."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from testing.controlplane import Cluster, token_parts, wait_until
from testing.controlplane.certificates import new_authority
from testing.gate_process import AUDIENCE, NAMESPACE
from tests.cluster.live.world import (
    CALLERS,
    WAIT_SECONDS,
    Bundles,
    calling,
    following_gate,
)

FORBIDDEN = ("httpx", "kopf", "kubernetes", "aiohttp", "requests", "urllib3", "yaml", "watchword.operator")


def token_of(cluster: Cluster, account: str) -> str:
    return cluster.token(CALLERS, account, [AUDIENCE], pod=f"{account}-0")


@pytest.mark.parametrize("is_packed", [False, True], ids=["plain", "gzipped"])
def test_each_edit_is_in_use_as_it_comes(mortal: Cluster, bundles: Bundles, is_packed: bool) -> None:
    token = token_of(mortal, "hermes")
    with following_gate(bundles, bundles.document("atlas")) as following, calling(following):
        following.until_connected()
        story = [
            (("atlas", "hermes"), None, 200, ""),
            (("atlas", "hermes"), "hermes", 403, "suspended"),
            (("atlas", "hermes"), None, 200, ""),
            (("atlas",), None, 403, "unknown_workload"),
        ]
        for trusted, suspended, status, reason in story:
            bundles.publish(bundles.document(*trusted, suspended=suspended), is_packed=is_packed)
            following.until_generation(bundles.generation)
            answer = following.gate.ask(token)
            assert (answer.status, answer.reason) == (status, reason)
        assert following.follows["generation"] == bundles.generation
        assert "warning" not in following.ready()


def test_a_gate_without_a_file_begins_with_the_config_map(bundles: Bundles) -> None:
    with following_gate(bundles) as following:
        assert following.gate.ask("x").reason == "not_ready"
        generation = bundles.trust("atlas")
        following.until_generation(generation)
        assert following.ready()["ready"] is True
        # The next start would have nothing to begin with.
        assert "cannot be read" in following.ready()["warning"]


def test_the_mounted_file_that_lags_behind_is_no_trouble_and_one_that_is_ahead_counts(
    bundles: Bundles,
) -> None:
    old = bundles.document("atlas")
    generation = bundles.trust("atlas", "hermes")
    with following_gate(bundles, old) as following, calling(following):
        following.until_generation(generation)
        bundles.mount(bundles.document("atlas"))
        following.until_generation(generation + 1)
        assert "warning" not in following.ready()
        assert following.follows["generation"] == generation


BAD = {
    "half of it": (lambda bundles: bundles.document("atlas", "stranger")[:-60], "holds no usable bundle"),
    "an old one": (
        lambda bundles: bundles.document("atlas", "stranger", generation=1),
        "generation 1 does not follow",
    ),
    "the same generation with other content": (
        lambda bundles: bundles.document("atlas", "stranger", generation=bundles.generation),
        "does not follow",
    ),
    "a changed byte": (
        lambda bundles: bundles.document("atlas", "hermes").replace(b'"hermes"', b'"hermit"'),
        "the digest does not fit the content",
    ),
    "nothing": (lambda bundles: b"", "holds no usable bundle"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_config_map_that_is_wrong_changes_nothing_and_is_said(bundles: Bundles, name: str) -> None:
    make, why = BAD[name]
    bundles.document("atlas")
    generation = bundles.trust("atlas")
    with following_gate(bundles, bundles.document("atlas", generation=1)) as following, calling(following):
        following.until_generation(generation)
        bundles.publish(make(bundles))
        following.until_warning(why)
        assert following.ready()["generation"] == generation
        assert "bundle refused" in following.log()
        assert following.gate.metric("watchword_bundle_failures_total") == 1
        following.until_generation(bundles.trust("atlas"))
        assert "warning" not in following.ready()


def test_a_config_map_that_is_deleted_and_made_anew(bundles: Bundles) -> None:
    generation = bundles.trust("atlas")
    with following_gate(bundles, bundles.document("atlas", generation=1)) as following, calling(following):
        following.until_generation(generation)
        bundles.delete()
        following.until_warning("is gone")
        # Made anew with an older generation, it is no way back in for whom it trusted then.
        bundles.publish(bundles.document("atlas", "stranger", generation=1))
        following.until_warning("generation 1 does not follow")
        following.until_generation(bundles.trust("atlas"))
        assert "warning" not in following.ready()


def test_the_metrics_say_how_old_the_last_word_is(bundles: Bundles) -> None:
    with following_gate(bundles, bundles.document("atlas")) as following:
        following.until_connected()
        assert following.gate.metric("watchword_bundle_watch_connected") == 1
        assert 0 <= following.gate.metric("watchword_bundle_watch_age_seconds") < WAIT_SECONDS


def test_who_may_not_read_the_config_map_is_told_what_is_missing_and_goes_on_by_itself(
    mortal: Cluster, tmp_path: Path
) -> None:
    bundles = Bundles.of(mortal, tmp_path)
    with following_gate(bundles, bundles.document("atlas")) as following, calling(following):
        following.until_trouble("answers 403 to list configmaps")
        said = following.follows
        assert f'"system:serviceaccount:{NAMESPACE}:{bundles.account}" cannot list' in said["warning"]
        assert "Role" in said["remedy"]
        assert said["connected"] is False
        bundles.allow(name="another")
        generation = bundles.trust("atlas")
        following.until_trouble("answers 403 to list configmaps")
        bundles.allow("get", "list")
        following.until_generation(generation)
        following.until_trouble("answers 403 to watch configmaps")
        bundles.allow()
        following.until_connected()
        following.until_generation(bundles.trust("atlas"))


def test_an_api_server_of_another_authority_is_not_believed(bundles: Bundles, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    authority = new_authority(other).path
    bundles.trust("atlas", "stranger", generation=1_000)
    with (
        following_gate(bundles, bundles.document("atlas"), authority=authority) as following,
        calling(following),
    ):
        following.until_trouble("is not trusted")
        assert following.follows["last_word_seconds"] is None
        assert following.ready()["generation"] == bundles.generation


def test_a_token_that_is_renewed_is_used_and_one_that_expired_is_said(
    mortal: Cluster, bundles: Bundles
) -> None:
    claims = token_parts(bundles.token())[1]
    now = int(time.time())
    # The API server lets a token live a minute longer than it says.
    times = {"iat": now - 700, "nbf": now - 700, "exp": now - 50}
    short = mortal.sign(mortal.token_header, {**claims, **times})
    bundles.write_token(short)
    with following_gate(bundles, bundles.document("atlas")) as following, calling(following):
        following.until_connected()
        following.until_trouble("answers 401")
        assert "token" in following.follows["remedy"]
        generation = bundles.trust("atlas")
        bundles.write_token(bundles.token())
        following.until_connected()
        following.until_generation(generation)
        assert short not in following.log()


def test_nothing_of_a_large_client_is_in_the_gates_process(bundles: Bundles) -> None:
    generation = bundles.trust("atlas")
    log = bundles.folder / "imports"
    command = [
        *(sys.executable, "-X", "importtime", "-m", "watchword.cli.main", "sidecar"),
        f"--bundle={bundles.mount(bundles.document('atlas', generation=1))}",
        f"--watch={bundles.watched}",
        f"--api-server={bundles.cluster.url}",
        f"--api-token-file={bundles.write_token(bundles.token())}",
        f"--api-ca-file={bundles.cluster.authority}",
        *("--listen=127.0.0.1:0", "--ops-listen=127.0.0.1:0", "--usage-dsn=sqlite:///:memory:"),
    ]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        wait_until(
            lambda: f'"generation":{generation},' in log.read_text().replace(" ", ""),
            what="the ConfigMap's bundle in use",
            timeout_seconds=WAIT_SECONDS,
        )
        imported = set(re.findall(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", log.read_text(), re.MULTILINE))
    finally:
        process.terminate()
        process.wait(WAIT_SECONDS)
    assert "watchword.kube.watch.watch" in imported
    assert [name for name in imported if name.startswith(FORBIDDEN)] == []
