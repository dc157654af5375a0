# SPDX-License-Identifier: Apache-2.0
"""Gate, proxy and app see one path: whatever reached the app is, byte by byte, what the gate said yes to.

A path that the proxy mends between asking and passing on is how a check of one path permits another
(GHSA-pxq7-h93f-9jrg, CVE-2026-26205, CVE-2026-33494, CVE-2026-42272, CVE-2026-32811, CVE-2026-40912).
"""

from __future__ import annotations

import itertools

import pytest

from testing.gate_process import USAGE_PATH
from tests.proxies.callers import bearer
from tests.proxies.echo import told
from tests.proxies.front import Front

# Pieces that one parser keeps and another one mends, put before, into and after a path that is allowed.
PIECES = (
    "/..",
    "/../",
    "/.",
    "/./",
    "//",
    "///",
    "/%2e%2e/",
    "/%2E./",
    "/.%2e",
    "/%2e/",
    "%2F",
    "%2f..%2f",
    "/%252e%252e/",
    "%252F",
    "%3F",
    "?",
    "%23",
    "#",
    ";",
    ";x=/../",
    "%3B",
    "\\",
    "%5C",
    "/..%5c",
    "/..;/",
    "%00",
    "%0a",
    "%0d%0aX: y",
    "%",
    "%2",
    "%zz",
    "%c0%ae%c0%ae",
    "%c0%af",
    "%u002e",
    "*",
    "+",
    "%20",
    "\xe9",
    "%e9",
    "%C3%A9",
    "~",
    "%7e",
    "|",
    '"',
    "<",
    "{",
    "^",
    "`",
)
PLACES = ("{piece}" + USAGE_PATH, "/api/accounts/{piece}acme/usage", "/api/accounts/acme{piece}usage")
TAILS = (USAGE_PATH + "{piece}", USAGE_PATH + "{piece}/admin", "/admin{piece}" + USAGE_PATH)
ESCAPES = (
    "/secret/.." + USAGE_PATH,
    USAGE_PATH + "/../../../../admin",
    "/open/../admin",
    "/open%2f..%2fadmin",
)
FORMS = (
    "http://app.example" + USAGE_PATH,
    "http://app.example/admin",
    "http://app.example/open/../admin",
    f"http://elsewhere.example{USAGE_PATH}?x=/admin",
    "http://app.example?" + USAGE_PATH,
    "*",
    "",
    "admin",
    "app.example:80",
    "//app.example" + USAGE_PATH,
    "//open/admin",
    "/%61dmin",
    "/%6Fpen",
    "/OPEN",
    "/open/",
    "/open?",
    "/open??x",
    "/open?#",
    "/api/accounts/%61cme/usage",
    "/api/accounts/acme%2fusage",
    "/api/accounts/acme/usage%3Fx",
)
TARGETS = [
    *dict.fromkeys(
        [
            *(place.format(piece=piece) for place, piece in itertools.product(PLACES + TAILS, PIECES)),
            *ESCAPES,
            *FORMS,
        ]
    )
]


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_the_app_is_reached_only_on_the_path_that_the_gate_allowed(front: Front, method: str) -> None:
    disagreements, reached = [], 0
    for target in TARGETS:
        if not target or " " in target:
            continue
        try:
            answer = front.send(method, target, bearer("reader"))
        except ConnectionError:
            assert not front.app.seen, target
            continue
        allowed = [told(asked) for asked in front.gate.seen if asked.status == 200]
        arrived = [(seen.method, seen.target) for seen in front.app.seen]
        reached += len(arrived)
        # `OPTIONS *` is about the server itself; Caddy and Traefik answer it (RFC 9110, section 9.3.7).
        is_answered = answer.status == 200 and target != "*"
        if arrived != allowed or is_answered != bool(arrived):
            disagreements.append((target, allowed, arrived, answer.status))

    assert not disagreements
    # Were nothing let through, the comparison would have compared nothing.
    assert (reached > 0) == (method == "GET")


@pytest.mark.parametrize(
    "target", [*ESCAPES, "/admin%3F" + USAGE_PATH, "//open", "/open%2Fadmin", "/open;/admin"]
)
def test_an_ambiguous_path_never_reaches_the_app_unmended(front: Front, target: str) -> None:
    front.send("GET", target, bearer("reader"))

    assert target not in [seen.target for seen in front.app.seen]
