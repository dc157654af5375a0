# SPDX-License-Identifier: Apache-2.0
"""The headers of H12 through a real gate to a real app, cold and from the cache, in two positions."""

import time
from collections.abc import Iterator

import pytest

from testing import tokens
from testing.attacks.case import Case, ids
from testing.attacks.headers import HEADERS, TOKEN_COPIES, VALUE
from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, Front
from tests.gate.proxy.test_passing_on import status_of


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    bundle = write_bundle(tmp_path_factory.mktemp("headers") / "bundle.json", *objects)
    with running_app() as app, running_gate(bundle, "--upstream", app.url) as gate:
        yield Front(gate, app)


@pytest.mark.parametrize("case", HEADERS, ids=ids(HEADERS))
def test_a_header_that_an_app_would_honor_does_not_reach_it(case: Case[bytes], front: Front) -> None:
    hostile, now = case.build(), int(time.time())
    # Of its own for each case: the first request is cold, the second one from the cache.
    credential = b"Authorization: Bearer " + tokens.token(
        iat=now - 5, nbf=now - 5, exp=now + 600, jti=case.name
    )
    ordinary = b"X-Request-Id: 7"
    for lines in ((hostile, ordinary), (ordinary, hostile, hostile)):
        before = len(front.app.seen)
        answer = front.ask(b"GET /app/acme/thing HTTP/1.1", *lines, credential=credential)
        assert status_of(answer) == 200
        [seen] = front.app.seen[before:]
        assert VALUE not in b"".join(value for _, value in seen.headers)
        assert seen.values(b"x-request-id") == [b"7"]
        assert seen.values(b"x-watchword-subject") == [b"system:serviceaccount:atlas-production:atlas"]


@pytest.mark.parametrize("case", TOKEN_COPIES, ids=ids(TOKEN_COPIES))
def test_no_header_carries_the_token_to_the_app(case: Case[bytes], front: Front) -> None:
    now = int(time.time())
    token = tokens.token(iat=now - 5, nbf=now - 5, exp=now + 600, jti=case.name)
    for _ in range(3):
        copy = case.build() % token
        answer = front.ask(
            b"GET /app/acme/thing HTTP/1.1", copy, credential=b"Authorization: Bearer " + token
        )
        assert status_of(answer) == 200
        assert token not in b"".join(value for _, value in front.app.seen[-1].headers)
