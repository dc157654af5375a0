# SPDX-License-Identifier: Apache-2.0
"""H14: requests that name one account to the gate and another one, or none, to the app's parser.

The route binds `tenant_id` of the query, the token is good, and the workload was granted `acme` alone. A form
in the body is one more place that frameworks read parameters from.
"""

from collections.abc import Callable
from functools import partial

from testing.attacks.case import Case, cases
from testing.attacks.http_requests import PROXIES

PATH = "/api/search?tenant_id=acme"
# Types that some server reads as a form, and what comes without one.
FORMS = (
    "application/x-www-form-urlencoded",
    "APPLICATION/X-WWW-FORM-URLENCODED; charset=utf-8",
    "application/x-www-urlencoded",
    "application/x-url-encoded",
    "multipart/form-data; boundary=a",
    "multipart/mixed; boundary=a",
    "multipart/related; boundary=a",
    "text/plain",
    "text/xml",
    "application/xml",
    "application/json, application/x-www-form-urlencoded",
    "application/json; a=application/x-www-form-urlencoded",
    "application/json application/x-www-form-urlencoded",
    "application/json; charset=ibm037",
    "unknown",
    "",
)
QUERIES = (
    "tenant_id=rival",
    "tenant_id[]=rival",
    "TENANT_ID=rival",
    "tenant.id=rival",
    "a;tenant_id=rival",
    "!tenant_id=rival",
    "filter.tenant_id=rival",
    "&".join(["a=1"] * 100),
    "&" * 1000,
)


def lines(*types: str) -> tuple[str, ...]:
    """Content-Type headers."""
    return tuple(f"Content-Type: {each}" for each in types)


def _ask(proxy: Callable[..., bytes], method: str, types: tuple[str, ...]) -> bytes:
    return proxy(PATH, method, *lines(*types))


QUERY_REQUESTS: list[Case[bytes]] = cases(
    "H14",
    "ambiguous_query",
    [
        *(
            (f"{method} of type {kind!r} by {name}", partial(_ask, proxy, method, (kind,)))
            for kind in FORMS
            for method in ("GET", "POST")
            for name, proxy in PROXIES.items()
        ),
        *(
            (f"{method} whose type {name} does not hand over", partial(_ask, proxy, method, ()))
            for method in ("POST", "PUT", "DELETE")
            for name, proxy in PROXIES.items()
        ),
        *(
            (f"two types, {first} first, by {name}", partial(_ask, proxy, "POST", (first, second)))
            for first, second in (
                ("application/json", "multipart/form-data"),
                ("multipart/form-data", "application/json"),
                ("application/json", "application/json"),
            )
            for name, proxy in PROXIES.items()
        ),
        *(
            (f"{query[:20]} {place} by {name}", partial(proxy, target))
            for query in QUERIES
            for place, target in (
                ("behind", f"{PATH}&{query}"),
                ("in front", f"/api/search?{query}&tenant_id=acme"),
            )
            for name, proxy in PROXIES.items()
        ),
    ],
)
