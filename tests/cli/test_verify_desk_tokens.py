# SPDX-License-Identifier: Apache-2.0
"""`watchword verify` about desk tokens: whose they are, what they came from, and why they allow less."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.desk import SERVICE_AUDIENCE, desk_claims, desk_token, desk_world, from_origin, granting, origin
from testing.tokens import compact
from tests.cli.conftest import AT, Work
from watchword.cli.narrowing import narrowing_of
from watchword.identity import DeskClaims, Grant, Identity
from watchword.identity.desk_claims import read_desk_claims
from watchword.trust import encode_bundle, held_grants
from watchword.trust.grants import common_grant

READ, WRITE = "account:usage:read", "account:usage:write"
GRANTS = [
    {"scopes": [READ, WRITE], "accounts": ["acme", "other"]},
    {"scopes": ["project:read"], "accounts": ["acme"], "projects": ["ios", "android"]},
]


@pytest.fixture
def bundle(work: Work) -> Path:
    work.write("desk.json", encode_bundle(desk_world(grants=GRANTS).bundles[0]))
    return work.path / "desk.json"


def verify(work: Work, data: bytes, *more: str) -> tuple[str, int]:
    # On one line, whatever the width of the terminal.
    done = work.run("verify", "--bundle", "{work}/desk.json", "--at", AT, *more, stdin=data)
    return re.sub(r"\s+", " ", done.stdout), done.exit_code


def test_a_narrow_token_is_explained_grant_by_grant(work: Work, bundle: Path) -> None:
    narrow = desk_token(**granting({"actions": [READ], "accounts": ["acme"]}))
    said, code = verify(work, narrow)
    assert code == 0
    assert "Desk token kind workload purpose none" in said
    assert "origin system:serviceaccount:atlas-production:atlas of production" in said
    assert f"its token {origin()['token_id']}" in said
    assert f"allows {READ} for accounts acme" in said
    assert f"Accepted as tuist/atlas may {READ} for accounts acme" in said
    assert f"Narrower: The token leaves out the scope {WRITE}." in said
    assert "Narrower: The token leaves out the account other." in said
    assert "Narrower: The token leaves out project:read for accounts acme; projects android, ios." in said


def test_a_token_that_says_more_than_its_workload_may_is_explained(work: Work, bundle: Path) -> None:
    greedy = desk_token(**granting({"actions": ["admin:all"], "accounts": ["*"]}))
    said, code = verify(work, greedy)
    assert code == 0
    assert "The token says admin:all for accounts *, and no grant of the workload allows it." in said


def test_a_request_that_the_token_leaves_out_is_refused_with_the_reason(work: Work, bundle: Path) -> None:
    narrow = desk_token(**granting({"actions": [READ], "accounts": ["acme"]}))
    said, code = verify(work, narrow, "--method", "GET", "--path", "/accounts/other/usage")
    assert code == 1
    assert "not_in_token (HTTP 403)" in said
    assert "Ask the desk for a token" in said


def test_a_purpose_is_explained(work: Work, bundle: Path) -> None:
    said, code = verify(work, desk_token(purpose="cache-read"))
    assert (code, "purpose cache-read" in said) == (0, True)
    assert "it passes only on routes of that purpose" in said
    _, code = verify(
        work, desk_token(purpose="cache-read"), "--method", "GET", "--path", "/accounts/acme/cache"
    )
    assert code == 0
    said, code = verify(
        work, desk_token(purpose="cache-read"), "--method", "GET", "--path", "/accounts/acme/usage"
    )
    assert (code, "wrong_purpose" in said) == (1, True)


def test_a_refused_desk_token_shows_its_own_claims_and_its_origin(work: Work, bundle: Path) -> None:
    said, code = verify(work, desk_token(**from_origin(key="A" * 43)))
    assert code == 1
    assert "origin_key_unknown" in said
    assert f"audience {SERVICE_AUDIENCE}" in said
    assert "token id desk-token-1" in said
    assert f"its key {'A' * 43}" in said


def test_as_json_it_has_both_tokens_and_the_narrowing(work: Work, bundle: Path) -> None:
    narrow = desk_token(**granting({"actions": [READ], "accounts": ["acme"]}))
    done = work.run("verify", "--bundle", "{work}/desk.json", "--at", AT, "-o", "json", stdin=narrow)
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["claims"]["jti"] == document["deskToken"]["jti"] == "desk-token-1"
    assert document["deskToken"]["watchword"]["origin"]["pod"] == "atlas-0"
    assert any("account other" in each for each in document["narrowing"])
    assert narrow.rpartition(b".")[2].decode() not in done.output


SCOPES = st.lists(st.sampled_from(["a:r", "a:w"]), min_size=1, max_size=2, unique=True).map(tuple)
NAMES = st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True).map(tuple) | st.just(("*",))
HELD = st.lists(st.builds(Grant, SCOPES, NAMES, NAMES), min_size=1, max_size=3, unique=True).map(tuple)


@settings(deadline=None)
@given(HELD, HELD)
def test_a_token_that_allows_all_is_not_called_narrower(
    own: tuple[Grant, ...], token: tuple[Grant, ...]
) -> None:
    claims = read_desk_claims(
        compact(
            desk_claims(
                **granting(
                    *(
                        {"actions": list(each.scopes)}
                        | ({"accounts": list(each.accounts)} if each.accounts else {})
                        | ({"projects": list(each.projects)} if each.projects else {})
                        for each in token
                    )
                )
            )
        )
    )
    assert isinstance(claims, DeskClaims)
    identity = Identity("i", "s", "w", own, "t", "k", "p", 0.0, 1.0, claims)
    if set(own) <= set(token):
        # Nothing is said to be left out of what is there whole, besides what is too much.
        assert all("leaves out" not in each for each in narrowing_of(identity))
        assert {each for each in own if common_grant(each, each)} <= set(held_grants(identity))
