# SPDX-License-Identifier: Apache-2.0
"""What reaches a caller of a desk's refusal: bounded, on one line, and without any part of a token."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.client.server import Answer, LoopbackServer, serve
from watchword.client import DeskRefused, ExchangedToken
from watchword.client.exchanged_token import revoke_token

TOKEN = "header." + "secret" * 60 + ".signature"
MEMBERS = ("error", "reason", "error_description", "remedy", "request_id")


class Held:
    def token(self) -> str:
        return TOKEN


@pytest.fixture(name="desk")
def _desk() -> Iterator[LoopbackServer]:
    with serve() as server:
        yield server


def refused(desk: LoopbackServer, **members: str) -> DeskRefused:
    document = {"error": "invalid_request"} | members
    desk.answers = lambda _: Answer(400, {"content-type": "application/json"}, json.dumps(document).encode())
    with pytest.raises(DeskRefused) as found:
        ExchangedToken(desk.url, "tuist/tuist-server", scope="a:read", subject=Held()).token()
    with pytest.raises(DeskRefused) as of_revocation:
        revoke_token(desk.url, TOKEN)
    assert str(of_revocation.value) == str(found.value)
    return found.value


@pytest.mark.parametrize("member", MEMBERS)
@pytest.mark.parametrize("before", [0, 700, 990, 999])
def test_a_token_that_is_echoed_across_the_end_is_blacked_out_first(
    desk: LoopbackServer, member: str, before: int
) -> None:
    error = refused(desk, **{member: "x" * before + TOKEN})
    said = str(error) + repr(vars(error))
    # Six characters of it in a row would be the beginning of a token.
    assert "secret" not in said
    assert "header." not in said


def test_a_text_is_one_line_of_bounded_length(desk: LoopbackServer) -> None:
    error = refused(desk, error_description="a\nb\x1b[31m" + "c" * 5000)
    assert error.detail.startswith("a b [31mc")
    assert len(error.detail) == 1001
