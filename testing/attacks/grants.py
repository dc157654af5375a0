# SPDX-License-Identifier: Apache-2.0
"""P8: requests of a workload that was granted one project, for anything that is not that project.

The reason is the gate's; the token is good, and the same requests for the project itself are allowed.
"""

from functools import partial

from testing.attacks.case import Case, cases
from testing.attacks.http_requests import PROXIES
from testing.attacks.world import TRUSTED, subject, token

BUILDER = "tuist/builder"
PROJECT_PATH = "/api/accounts/acme/projects/ios"


def builder_token() -> bytes:
    """A good token of the workload that was granted the project `ios` of `acme`."""
    return token(**subject("atlas-production", TRUSTED[BUILDER].rpartition(":")[2]))


def ask(path: str, proxy: str = "nginx", method: str = "GET") -> bytes:
    """One request of that workload through a proxy."""
    return PROXIES[proxy](path, method).replace(token(), builder_token())


def call(path: str, method: str = "GET", *lines: str) -> bytes:
    """One request of that workload to the gate's own endpoints."""
    head = [f"{method} {path} HTTP/1.1", "Host: gate", *lines]
    return "\r\n".join(head).encode() + b"\r\nAuthorization: Bearer " + builder_token() + b"\r\n\r\n"


ACCOUNT_WIDE = ("/api/accounts/acme/usage", "/api/accounts/acme/cache", "/api/status")
LOOK_ALIKES = ("ios2", "io", "IOS", "ios%20", "i%C3%B3s", "*", "%2A", "prj_a", "ios-")

GRANTS: list[Case[bytes]] = cases(
    "P8",
    "account_not_granted",
    [
        *(
            (f"{path}, which is the whole account's, behind {proxy}", partial(ask, path, proxy))
            for path in ACCOUNT_WIDE
            for proxy in PROXIES
        ),
        *(
            (f"a look-alike of the project: {name}", partial(ask, f"/api/accounts/acme/projects/{name}"))
            for name in LOOK_ALIKES
        ),
        *(
            (f"the project of another account: {name}", partial(ask, f"/api/accounts/{name}/projects/ios"))
            for name in ("other", "Acme", "acme2", "acm", "*", "ios")
        ),
        ("the account's usage", partial(call, "/api/internal/accounts/acme/usage")),
        ("a list of accounts", partial(call, "/api/internal/usage")),
        ("a list of accounts, by name", partial(call, "/api/internal/usage?account=acme")),
        ("the meters", partial(call, "/api/internal/usage/meters")),
        ("writing usage", partial(call, "/api/internal/usage/events", "POST", "Content-Length: 0")),
    ],
)
