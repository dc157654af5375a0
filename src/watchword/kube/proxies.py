# SPDX-License-Identifier: Apache-2.0
"""The one rule about proxies: the API server and issuers' keys are reached directly, never through one.

A proxy dials for us: which addresses keys come from would not be ours to check, and each library has another
idea of `NO_PROXY` (addresses, CIDRs, `*`). So what the environment names is not used, and is named where a
connection fails, since it is what its owner expects to work.
"""

import os
from collections.abc import Mapping
from typing import Final

_VARIABLES: Final = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


def proxy_variable(environment: Mapping[str, str] = os.environ) -> str | None:
    """The name of the first variable that names a proxy, whose value may hold a password; None: none does."""
    return next((name for name in _VARIABLES if environment.get(name)), None)


def with_proxy_remedy(remedy: str, host: str, environment: Mapping[str, str] = os.environ) -> str:
    """A remedy for a host that was not reached, which names the proxy variable where there is one."""
    variable = proxy_variable(environment)
    if variable is None:
        return remedy
    return f"{remedy}; {variable} is set and never used: {host} must be reachable without a proxy"
