# SPDX-License-Identifier: Apache-2.0
"""An account or project from the query: no parser of an app finds another one than was decided on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.query_parsers import MODELS, RealParser, by_go, by_node
from watchword.identity import Reason, Refusal
from watchword.trust import FormFlaw, RouteMatch, RouteTable, form_flaw
from watchword.trust.api.v1alpha1 import Route
from watchword.trust.query_binding import MAX_PARAMETERS

NAME = "tenant_id"
TABLE = RouteTable(
    [
        Route(
            path="/q",
            methods=("GET", "POST"),
            scope="a:b",
            query={NAME: "account", "namespace_id": "project?"},
        ),
        Route(path="/plain", methods=("GET", "POST"), scope="a:b"),
        Route(path="/optional", methods=("GET",), scope="a:b", query={NAME: "account?"}),
    ]
)


def matched(query: str, path: str = "/q") -> RouteMatch | Refusal:
    return TABLE.match("GET", f"{path}?{query}".encode())


@pytest.mark.parametrize(
    ("query", "account", "project"),
    [
        ("tenant_id=acme", "acme", None),
        ("tenant%5Fid=acme", "acme", None),
        ("a=1&tenant_id=acme&b=2", "acme", None),
        ("tenant_id=acme&namespace_id=ios", "acme", "ios"),
        ("tenant_id=My%20App", "My App", None),
        ("tenant_id=%C3%A9", "é", None),
        ("tenant_id=a=b", "a=b", None),
        ("tenant_id=a%26b", "a&b", None),
        ("filter[status]=x&tenant_id=acme&&", "acme", None),
        ("tenant=evil&tenant_idx=evil&id=evil&tenant_id=acme", "acme", None),
    ],
)
def test_what_comes_once_and_plainly_is_bound(query: str, account: str, project: str | None) -> None:
    match = matched(query)
    assert isinstance(match, RouteMatch), match
    assert (match.account, match.project) == (account, project)


@pytest.mark.parametrize(
    "other",
    [
        "tenant_id=evil",
        "Tenant_Id=evil",
        "TENANT_ID=evil",
        "tenant.id=evil",
        "tenant%2Eid=evil",
        "tenant%20id=evil",
        "tenant[id=evil",
        "tenant%5Bid=evil",
        "%20tenant_id=evil",
        "tenant_id%20=evil",
        "tenant_id[]=evil",
        "tenant_id%5B%5D=evil",
        "tenant_id[a]=evil",
        "tenant_id[=evil",
        "tenant_id]=evil",
        "[tenant_id]=evil",
        "%5Btenant_id%5D=evil",
        "[]tenant_id=evil",
        "[[tenant_id=evil",
        "tenant%255Fid=evil",
        "%2574enant_id=evil",
        "%EF%BD%94enant_id=evil",
        "tenant_id",
        "tenant_id=",
        "?tenant_id=evil",
        "%3Ftenant_id=evil",
        "!tenant_id=evil",
        "_tenant_id=evil",
        "filter.tenant_id=evil",
        "a.b.TENANT_ID=evil",
        "%E2%80%8Btenant_id=evil",
        "tenant%C2%AD_id=evil",
        "tenant_id%00=evil",
        "tenant_id%0A=evil",
        "tenant_id:string=evil",
        "tenant_id:utf8:ustring=evil",
        "tenant_id%3Alist=evil",
        "namespace_id:string=evil",
        "tenant_%C4%B1d=evil",
        "tenant_%C4%B0d=evil",
        "name%C5%BFpace_id=evil",
        "a;tenant_id=evil",
        "a=1;tenant_id=evil",
        "a+b=1",
        "a=%zz",
        "a=%u0061",
        "a=%",
        "%ff=1",
        "namespace_id=",
        "namespace_id=a&namespace_id=b",
    ],
)
def test_what_two_parsers_could_read_differently_is_refused(other: str) -> None:
    for query in (f"tenant_id=acme&{other}", f"{other}&tenant_id=acme"):
        found = matched(query)
        assert isinstance(found, Refusal)
        assert found.reason is Reason.AMBIGUOUS_QUERY
        assert "evil" not in found.detail


@pytest.mark.parametrize(
    "query",
    [
        "",
        "a=1",
        "tenant_id=",
        "tenant_id",
        "Tenant_Id=acme",
        "tenant.id=acme",
        "tenant_id[]=acme",
        "[tenant_id]=acme",
        "tenant_id=%20acme",
        "tenant_id=acme%20",
        "tenant_id=acme+",
        "tenant_id=a%2Bb",
        "tenant_id=ac%2520me",
        "tenant_id=a%00b",
        "tenant_id=a%0Ab",
        "tenant_id=%ff",
        "namespace_id=ios",
    ],
)
def test_what_is_not_there_exactly_is_refused(query: str) -> None:
    found = matched(query)
    assert isinstance(found, Refusal)
    assert found.reason is Reason.AMBIGUOUS_QUERY


def test_no_query_at_all_is_refused_as_an_empty_one() -> None:
    found = TABLE.match("GET", b"/q")
    assert isinstance(found, Refusal)
    assert found == matched("")


def test_what_may_be_missing_may_be_missing_and_nothing_else() -> None:
    match = matched("a=1", "/optional")
    assert isinstance(match, RouteMatch)
    assert match.account is None
    assert isinstance(TABLE.match("GET", b"/optional"), RouteMatch)
    for query in (
        "!tenant_id=x",
        "_tenant_id=x",
        "filter.tenant_id=x",
        "tenant_id=",
        "Tenant_id=x",
        "tenant_id=a&tenant_id=b",
    ):
        assert isinstance(matched(query, "/optional"), Refusal)


def test_a_form_is_refused_on_such_a_route_and_on_no_other() -> None:
    flaw = form_flaw([], has_body=True)
    found = TABLE.match("POST", b"/q?tenant_id=acme", form_flaw=flaw)
    assert isinstance(found, Refusal)
    assert (found.reason, flaw) == (Reason.AMBIGUOUS_QUERY, FormFlaw(found.detail, found.hint))
    assert isinstance(TABLE.match("POST", b"/q?tenant_id=acme"), RouteMatch)
    assert isinstance(TABLE.match("POST", b"/plain", form_flaw=flaw), RouteMatch)


@pytest.mark.parametrize("filler", ["a=1", "", "a"])
def test_no_more_parameters_are_read_than_every_server_reads(filler: str) -> None:
    fitting = "&".join([filler] * (MAX_PARAMETERS - 1) + ["tenant_id=acme"])
    assert isinstance(matched(fitting), RouteMatch)
    for query in (f"{fitting}&{filler}", f"{filler}&{fitting}", f"{'&' * 900}tenant_id=acme"):
        found = matched(query)
        assert isinstance(found, Refusal)
        assert found.reason is Reason.AMBIGUOUS_QUERY
    assert isinstance(TABLE.match("GET", f"/plain?{fitting}&{filler}".encode()), RouteMatch)


PIECES = st.sampled_from(
    [
        "tenant_id=acme",
        "tenant_id=evil",
        "tenant_id",
        "tenant",
        "_id",
        "id",
        "TENANT_ID",
        "=",
        "=evil",
        "&",
        "&",
        ";",
        "+",
        "[",
        "]",
        "[]",
        ".",
        "%20",
        "%5B",
        "%5D",
        "%00",
        "%2B",
        "%3D",
        "%26",
        "%255F",
        "%5F",
        "%",
        "a=1",
        "#",
        "?",
        "?tenant_id=evil",
    ]
)
QUERIES = st.lists(PIECES, min_size=1, max_size=7).map("".join)


@settings(max_examples=4000, deadline=None)
@given(QUERIES)
def test_no_parser_finds_another_account_than_was_decided(query: str) -> None:
    match = matched(query)
    if not isinstance(match, RouteMatch):
        return
    for model in MODELS:
        found = model(query, NAME)
        assert set(found) <= {match.account}, model.__name__


def random_queries(number: int) -> list[str]:
    rng = random.Random(11)
    pieces = list(PIECES.elements)  # type: ignore[attr-defined]  # hypothesis' own, of sampled_from
    made = ["".join(rng.choices(pieces, k=rng.randint(1, 6))) for _ in range(number)]
    return [*made, *(f"tenant_id=acme&{each}" for each in made), *(f"{each}&tenant_id=acme" for each in made)]


@pytest.mark.parametrize("parser", [by_node, by_go])
def test_a_real_parser_finds_the_account_that_was_decided(parser: RealParser, tmp_path: Path) -> None:
    accepted = [
        (query, match.account or "")
        for query in random_queries(6000)
        if isinstance(match := matched(query), RouteMatch)
    ]
    assert len(accepted) > 500
    asked = [(query, NAME) for query, _ in accepted]
    for (query, account), found in zip(accepted, parser(asked, tmp_path), strict=True):
        assert found, query
        for values in found:
            assert values == [account], query


def test_the_models_see_what_they_are_there_to_see() -> None:
    evil = {
        "php": "tenant[id=evil",
        "rack": "[]tenant_id=evil",
        "express": "[tenant_id]=evil",
        "aspnet": "TENANT_ID=evil",
        "servlet": "a;tenant_id=evil",
        "twice": "tenant%255Fid=evil",
        "flask": "tenant_id=evil",
    }
    for model in MODELS:
        assert model(evil[model.__name__], NAME) == ["evil"]
