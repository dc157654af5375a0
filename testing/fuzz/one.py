# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target in this process: started by `python -m testing.fuzz`, with libFuzzer's own arguments."""

import sys

import atheris

with atheris.instrument_imports(
    include=[
        "watchword.gate.http2",
        "watchword.kube.watch",
        "watchword.identity",
        "watchword.trust",
        "watchword.usage",
    ]
):
    from testing.fuzz import http2, targets

from testing.attacks.world import NOW, key, policy
from testing.fuzz.targets import Target

HEADER = b'{"alg":"ES256","kid":"es256"}'


def target(name: str) -> Target:
    """The target of this name."""
    if name == "http2":
        return http2.http2_target()
    named: dict[str, Target] = {
        "token": targets.token_target(policy(), NOW),
        "claims": targets.claims_target(lambda body: key("es256").sign(HEADER, body), policy(), NOW),
        "jwks": targets.jwks_target,
        "bundle": targets.bundle_target,
        "manifest": targets.manifest_target,
        "event": targets.event_target(NOW),
        "answer": targets.answer_target,
    }
    return named[name]


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], *sys.argv[2:]], target(sys.argv[1]))
    atheris.Fuzz()
