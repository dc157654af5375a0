# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target in this process: started by `python -m tests.fuzz`, with libFuzzer's own arguments."""

import sys

import atheris

with atheris.instrument_imports(
    include=["watchword.apiwatch", "watchword.identity", "watchword.trust", "watchword.usage"]
):
    from tests.fuzz import targets

from tests.attacks.world import NOW, key, policy
from tests.fuzz.targets import Target

HEADER = b'{"alg":"ES256","kid":"es256"}'


def target(name: str) -> Target:
    """The target of this name."""
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
