# SPDX-License-Identifier: Apache-2.0
"""A caller that lives as long as the node: what takes minutes to come about has the session's time for it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from testing.controlplane import token_parts, wait_until
from tests.e2e.stage import Stage, projects

SERVER, CALLER = "server", "atlas"
TOKEN_SECONDS = 600  # the least that a Pod may ask for


@dataclass(frozen=True, slots=True)
class LongCaller:
    """A protected pod, a caller of it that calls once a second, and the claims of its first token."""

    stage: Stage
    first_claims: dict[str, Any]

    def token(self) -> str:
        """The token that the kubelet has put into the caller's volume."""
        return _token(self.stage)

    @staticmethod
    def audit_entry(line: str) -> dict[str, Any] | None:
        """The line of a gate's log as an entry of its audit log about a call let through, if it is one."""
        entry: dict[str, Any] = json.loads(line)
        return entry if entry.get("outcome") == "allowed" and "token_id" in entry else None


def start_long_caller(stage: Stage) -> LongCaller:
    """Start both pods; return once the first call got through."""
    stage.trust(CALLER)
    gate = stage.gate()
    gate["args"].append("--audit=all")
    url = projects(stage.start_protected_pod(SERVER, gate=gate))
    stage.node.apply(
        stage.caller(CALLER, url, "--pause-seconds=1", account=CALLER, token_seconds=TOKEN_SECONDS)
    )
    stage.node.wait_for_pod(stage.namespace, CALLER)
    wait_until(lambda: stage.said(CALLER, "answer") != [], what="the first answer", timeout_seconds=60.0)
    return LongCaller(stage, token_parts(_token(stage))[1])


def _token(stage: Stage) -> str:
    pod = stage.node.pod(stage.namespace, CALLER)
    return stage.node.run("cat", str(stage.node.volume(pod, "projected", "identity") / "token"))
