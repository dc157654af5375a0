# SPDX-License-Identifier: Apache-2.0
"""A token that the kubelet renews while its pod runs: the caller goes on with the new one, unrestarted.

A projected token lives for ten minutes at least, and the kubelet renews it once a fifth of that is left
(pkg/kubelet/token/token_manager.go, `requiresRefresh`); neither has a shorter setting. So the pods start with
the node (`long_caller`), and this test is the session's last: it waits for what is left of eight minutes.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from testing.controlplane import token_parts, wait_until
from tests.e2e.longcaller import CALLER, SERVER, LongCaller

# One sync of the pod, which is when the kubelet looks (`syncFrequency`, with its own jitter), and slack.
RENEWAL_SECONDS = 480 + 90 + 30


@pytest.mark.timeout(900)
def test_a_caller_goes_on_with_the_token_that_the_kubelet_renewed(long_caller: LongCaller) -> None:
    first = long_caller.first_claims
    wait_until(
        lambda: current_claims(long_caller)["jti"] != first["jti"],
        what="the token renewed",
        timeout_seconds=max(first["iat"] + RENEWAL_SECONDS - time.time(), 30.0),
    )
    wait_until(lambda: len(tokens_used(long_caller)) > 1, what="the new token used", timeout_seconds=60.0)

    (old, _), (new, used_at), *_ = tokens_used(long_caller).items()
    renewed_after = used_at - first["iat"]
    print(f"the new token was in use {renewed_after:.0f} s after the first was issued")
    assert (old, new != old) == (first["jti"], True)
    # Renewed before it had to be: no call was ever made with a token past its time.
    assert used_at < first["exp"]
    answered = long_caller.stage.said(CALLER, "counts")[-1]["counts"]
    assert set(answered) == {"ok"}, answered
    assert restarts(long_caller) == 0


def current_claims(long_caller: LongCaller) -> dict[str, Any]:
    """The claims of the token that lies in the caller's volume now."""
    return token_parts(long_caller.token())[1]


def tokens_used(long_caller: LongCaller) -> dict[str, float]:
    """Each `jti` that the gate let through, in order, and when it was first (seconds since the epoch)."""
    stage = long_caller.stage
    lines = stage.node.logs(stage.namespace, SERVER, "gate").splitlines()
    entries = (long_caller.audit_entry(line) for line in lines)
    allowed = [(each["token_id"], each["time"]) for each in entries if each]
    return {jti: next(group)[1] for jti, group in itertools.groupby(allowed, key=lambda each: each[0])}


def restarts(long_caller: LongCaller) -> int:
    """How often any container of either pod was started again."""
    stage = long_caller.stage
    statuses = [stage.node.pod(stage.namespace, name)["status"] for name in (SERVER, CALLER)]
    kinds = ("containerStatuses", "initContainerStatuses")
    return sum(each["restartCount"] for status in statuses for kind in kinds for each in status.get(kind, []))
