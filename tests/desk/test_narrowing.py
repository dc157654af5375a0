# SPDX-License-Identifier: Apache-2.0
"""A token never allows what its workload does not, whatever is asked for and however names look alike."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchword.desk.forms import Form
from watchword.desk.grant_request import GrantRequest, read_grant_request
from watchword.desk.narrowing import narrow
from watchword.desk.refusals import DeskRefusal
from watchword.identity import Grant, Identity
from watchword.trust import authorize

# Prefixes, suffixes, another case, a zero for an o, a Cyrillic a: all of them other names.
SCOPES = ("cache:read", "cache:read-all", "cache:rea", "cache:part:read", "cache:write")
ACCOUNTS = ("acme", "acme2", "acm", "Acme", "acme ", "аcme", "*")
PROJECTS = ("ios", "ios-app", "io", "iOS", "i0s", "*")


def _grant(may_be_empty: bool) -> st.SearchStrategy[Grant]:
    """A grant in the form that resources allow: a list is absent or not empty, and `*` stands alone."""

    def holders(names: tuple[str, ...]) -> st.SearchStrategy[tuple[str, ...]]:
        named = st.lists(st.sampled_from([each for each in names if each != "*"]), min_size=1, unique=True)
        return st.one_of(named.map(lambda found: tuple(sorted(found))), st.just(("*",)), st.just(()))

    scopes = st.lists(st.sampled_from(SCOPES), min_size=1, unique=True).map(
        lambda found: tuple(sorted(found))
    )
    grants = st.builds(Grant, scopes, holders(ACCOUNTS), holders(PROJECTS))
    # A request that names projects names accounts; a workload's grant may lack them, and then holds nothing.
    return grants if may_be_empty else grants.filter(lambda each: bool(each.accounts or not each.projects))


def _identity(grants: tuple[Grant, ...]) -> Identity:
    return Identity("i", "s", "n/w", grants, "", "", "", 0.0, 1.0)


@settings(max_examples=600)
@given(
    st.lists(_grant(may_be_empty=True), max_size=4),
    st.lists(_grant(may_be_empty=False), min_size=1, max_size=3),
)
def test_what_a_token_lets_pass_its_workload_lets_pass(held: list[Grant], asked: list[Grant]) -> None:
    narrowed = narrow(held, GrantRequest(tuple(asked), is_short=False))
    if isinstance(narrowed, DeskRefusal):
        return
    token, workload = _identity(narrowed), _identity(tuple(held))
    for scope in SCOPES:
        for account in (None, *ACCOUNTS[:-1], "somebody else"):
            for project in (None, *PROJECTS[:-1], "something else"):
                if isinstance(authorize(token, scope, account, project), Grant):
                    allowed = authorize(workload, scope, account, project)
                    assert isinstance(allowed, Grant), (held, asked, scope, account, project)


@settings(max_examples=600)
@given(st.lists(_grant(may_be_empty=True), max_size=4), _grant(may_be_empty=False))
def test_what_the_workload_lets_pass_whole_is_not_refused(held: list[Grant], asked: Grant) -> None:
    """The other direction, for requests that name no `*`: each request passes, so the token is given."""
    if "*" in asked.accounts or "*" in asked.projects:
        return
    workload = _identity(tuple(held))
    passes_whole = all(
        isinstance(authorize(workload, scope, account, project), Grant)
        for scope in asked.scopes
        for account in (asked.accounts or (None,))
        for project in (asked.projects or (None,))
    )
    assert isinstance(narrow(held, GrantRequest((asked,), is_short=False)), DeskRefusal) != passes_whole


def test_a_request_that_is_partly_covered_is_refused_whole() -> None:
    held = [Grant(("cache:read",), ("acme",), ("ios",))]
    asked = GrantRequest((Grant(("cache:read",), ("acme",), ("android", "ios")),), is_short=False)

    refusal = narrow(held, asked)

    assert isinstance(refusal, DeskRefusal)
    assert refusal.code == "grant_not_covered"
    assert refusal.error == "invalid_authorization_details"
    assert "android" in refusal.detail
    # What else the workload holds is not said.
    assert "ios" not in refusal.detail


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        (Grant(("cache:read",), ("acme",)), Grant(("cache:read",), ("acme",), ("ios",))),
        (Grant(("cache:read",), ("acme",), ("ios",)), Grant(("cache:read",), ("acme",))),
        (Grant(("cache:read",), ("acme",), ("*",)), Grant(("cache:read",), ("acme",))),
        (Grant(("cache:read",), ("acme",)), Grant(("cache:read",), ("*",))),
        (Grant(("cache:read",), ("*",), ("ios",)), Grant(("cache:read",), ("acme",), ("*",))),
        (Grant(("cache:read",), ("acme",)), Grant(("cache:read",), ("acme2",))),
        (Grant(("cache:read",), ("acme2",)), Grant(("cache:read",), ("acme",))),
        (Grant(("cache:read",), ("acme",), ("ios",)), Grant(("cache:read",))),
        (Grant(("cache:read",)), Grant(("cache:read",), ("acme",))),
        (Grant(("cache:part:read",), ("acme",)), Grant(("cache:read",), ("acme",))),
    ],
)
def test_what_is_not_held_is_refused(held: Grant, asked: Grant) -> None:
    assert isinstance(narrow([held], GrantRequest((asked,), is_short=True)), DeskRefusal)


def test_two_grants_cover_what_neither_does_alone_but_not_crosswise() -> None:
    held = [Grant(("cache:read",), ("acme",)), Grant(("cache:write",), ("other",))]
    both = GrantRequest(
        (Grant(("cache:read",), ("acme",)), Grant(("cache:write",), ("other",))), is_short=False
    )
    crosswise = GrantRequest((Grant(("cache:read", "cache:write"), ("acme", "other")),), is_short=False)

    assert narrow(held, both) == both.grants
    assert isinstance(narrow(held, crosswise), DeskRefusal)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(ACCOUNTS + SCOPES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "actions", "accounts", "projects", "x"]), inner, max_size=5
        )
    ),
    max_leaves=12,
)


@settings(max_examples=500)
@given(_json)
def test_authorization_details_of_any_shape_are_grants_or_a_refusal(document: object) -> None:
    form = Form({"authorization_details": (json.dumps(document),)})

    read = read_grant_request(form)

    if isinstance(read, GrantRequest):
        for grant in read.grants:
            assert grant.scopes
            assert grant.accounts or not grant.projects
            assert "*" not in grant.accounts or grant.accounts == ("*",)
            assert "*" not in grant.projects or grant.projects == ("*",)
    else:
        assert read.error in ("invalid_authorization_details", "invalid_request")


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{}",
        "",
        "null",
        '[{"type":"watchword_grant","actions":[]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":[]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":null}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"projects":["ios"]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":["acme","*"]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":["ac*"]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":["a,b"]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"locations":["x"]}]',
        '[{"type":"other","actions":["cache:read"]}]',
        '[{"type":"watchword_grant","type":"watchword_grant","actions":["cache:read"]}]',
        '[{"type":"watchword_grant","actions":["cache:read"]}],"details":[]',
        '[{"type":"watchword_grant","actions":["cache:read"]}],"x":1',
        '[{"type":"watchword_grant","actions":["Cache:Read"]}]',
        '[{"type":"watchword_grant","actions":["cache:read\\n"]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":["acme","acme"]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":["' + "a" * 121 + '"]}]',
        json.dumps([{"type": "watchword_grant", "actions": ["cache:read"]}] * 9),
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":"acme"}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":[1]}]',
        '[{"type":"watchword_grant","actions":["cache:read"],"accounts":["\\ud800"]}]',
    ],
)
def test_malformed_details_are_refused(text: str) -> None:
    values = {"authorization_details": (text,)} if text else {}
    refusal = read_grant_request(Form(values))
    assert isinstance(refusal, DeskRefusal)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({}, "no_grant_requested"),
        ({"account": ("acme",)}, "missing_parameter"),
        ({"scope": ("cache:read  cache:write",)}, "malformed_scope"),
        ({"scope": (" cache:read",)}, "malformed_scope"),
        ({"scope": ("cache:read cache:read",)}, "malformed_scope"),
        ({"scope": ("cache",)}, "malformed_scope"),
        ({"scope": ("*",)}, "malformed_scope"),
        ({"scope": ("cache:read",), "project": ("ios",)}, "malformed_scope"),
        ({"scope": ("cache:read",), "account": ("a*",)}, "malformed_scope"),
        ({"scope": ("cache:read",), "authorization_details": ("[]",)}, "two_grant_forms"),
        ({"account": ("a",), "authorization_details": ("[]",)}, "two_grant_forms"),
    ],
)
def test_the_short_form_is_read_strictly(values: dict[str, tuple[str, ...]], code: str) -> None:
    refusal = read_grant_request(Form(values))
    assert isinstance(refusal, DeskRefusal)
    assert refusal.code == code
