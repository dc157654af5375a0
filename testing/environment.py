# SPDX-License-Identifier: Apache-2.0
"""The environment of the programs that tests start."""

from __future__ import annotations

import os

_PASSED_ON = ("PATH", "PYTHONPATH")


def child_environment(**variables: str) -> dict[str, str]:
    """PATH and PYTHONPATH of this process, where they are set, and these variables; nothing else.

    What a developer's shell says of proxies, clusters and locales changes no test. PYTHONPATH says which
    checkout is tested: without it a child imports whatever is installed.
    """
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ} | variables
