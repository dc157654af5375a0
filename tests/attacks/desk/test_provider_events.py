# SPDX-License-Identifier: Apache-2.0
"""Events of providers (RFC 8417, RFC 8935), attacked: who may end what, and how often.

Each request has the status, the `error` and the `reason` that must come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from testing.agent_providers import (
    EVENT_TYPE,
    JAG_TYPE,
    OTHER_PROVIDER,
    PROVIDER,
    REVOKED,
    ProviderDesk,
    by_hand,
    event,
    event_claims,
    flipped,
    id_jag,
    key,
    other_object,
    provider_desk,
    provider_object,
    signed,
)
from testing.agents import said
from testing.running_desk import DESK_AUDIENCE, ISSUER
from testing.tokens import Signer, compact, signer

Make = Callable[[], str]
RSA = signer("provider-rsa", "RS256")
IMPOSTOR = Signer("provider-1", "ES256")


def now() -> int:
    return int(time.time())


Err = tuple[int, str, str]
_NOT_VERIFIED: Err = (400, "authentication_failed", "unverified_event")
_BAD_EVENT: Err = (400, "invalid_request", "malformed_event")
_EVENT_AUDIENCE: Err = (400, "invalid_audience", "wrong_event_audience")
_EVENT_TIME: Err = (400, "invalid_request", "event_not_in_time")
_ID = {"format": "iss_sub", "iss": PROVIDER, "sub": "user-1"}

EVENTS: list[tuple[str, Err, Make]] = [
    ("alg none", _NOT_VERIFIED, lambda: by_hand({"alg": "none", "typ": EVENT_TYPE}, event_claims(), b"x")),
    ("an impostor's key", _NOT_VERIFIED, lambda: event(IMPOSTOR)),
    ("another provider's iss", _NOT_VERIFIED, lambda: event(iss=OTHER_PROVIDER)),
    ("an unknown iss", _NOT_VERIFIED, lambda: event(iss="https://unknown.example")),
    ("a changed signature", _NOT_VERIFIED, lambda: flipped(event())),
    ("an ID-JAG", _NOT_VERIFIED, id_jag),
    *((f"typ {kind!r}", _NOT_VERIFIED, partial(event, header={"typ": kind}))
      for kind in (..., "JWT", "logout+jwt", "application/secevent+jwt", JAG_TYPE, "SECEVENT+JWT")),
    ("no kid where there are several keys", _NOT_VERIFIED, lambda: event(header={"kid": ...})),
    ("events twice", _BAD_EVENT,
     lambda: signed(b'{"events":{},' + compact(event_claims())[1:], EVENT_TYPE)),
    ("events twice, by an impostor", _NOT_VERIFIED,
     lambda: signed(b'{"events":{},' + compact(event_claims())[1:], EVENT_TYPE, IMPOSTOR)),
    ("a header that is never honored", _BAD_EVENT, lambda: event(header={"x5t": "a"})),
    *((f"aud {audience!r}", _EVENT_AUDIENCE, partial(event, aud=audience))
      for audience in ("", f"{ISSUER}/", [ISSUER, "https://other.example"], [], PROVIDER, DESK_AUDIENCE,
                       f"{ISSUER}/agent/event/notify")),
    *((f"without {name}", _BAD_EVENT, partial(event, **{name: ...}))
      for name in ("aud", "jti", "iat", "events", "sub")),
    *((f"{name} {value!r}"[:60], _BAD_EVENT, partial(event, **{name: value}))
      for name, value in (
          ("events", {}), ("events", []), ("events", [REVOKED]), ("events", REVOKED), ("events", None),
          ("events", {REVOKED: None}), ("events", {REVOKED: []}),
          ("events", {f"e{n}": {} for n in range(17)}), ("jti", ""), ("jti", 7),
          ("jti", "x" * 257), ("iat", "now"), ("sub", 7), ("sub", ""),
          ("sub", "x" * 256), ("sub_id", None), ("sub_id", "user-1"), ("sub_id", {}),
          ("sub_id", _ID | {"iss": OTHER_PROVIDER}), ("sub_id", _ID | {"sub": "user-2"}),
          ("sub_id", _ID | {"format": "email"}), ("sub_id", {"format": "iss_sub", "sub": "user-1"}))),
    ("an event of two days ago", _EVENT_TIME, lambda: event(iat=now() - 2 * 86_400)),
    ("an event of the future", _EVENT_TIME, lambda: event(iat=now() + 120)),
    ("an event of no time", _EVENT_TIME, lambda: event(iat=10**400)),
    ("an event that has ended", _EVENT_TIME, lambda: event(exp=now() - 61)),
]  # fmt: skip


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[ProviderDesk, dict[str, Any]]]:
    """A desk with a link that no bad event ends."""
    with provider_desk(provider_object("helper", key(), RSA), other_object()) as running:
        yield running, running.linked()


@pytest.mark.parametrize(("_", "expected", "make"), EVENTS, ids=[each[0][:60] for each in EVENTS])
def test_an_event_that_is_not_whole_ends_nothing(
    standing: tuple[ProviderDesk, dict[str, Any]], _: str, expected: Err, make: Make
) -> None:
    desk, done = standing
    answer = desk.notify(make())
    document = answer.json()
    assert (answer.status_code, document["err"], document["reason"]) == expected, answer.text
    assert {"description", "remedy", "request_id"} <= document.keys()
    assert "error" not in document
    assert desk.agents.token(done["identity"]["assertion"]).status_code == 200


@pytest.mark.parametrize(
    "told",
    [
        {"events": {"https://schemas.openid.net/secevent/risc/event-type/account-disabled": {}}},
        {"events": {REVOKED + "/": {}}},
        {"events": {REVOKED.replace("/auth", ""): {}}},
        {"events": {"unknown": {}}, "sub": ...},
        {"sub": "someone-else"},
        {"sub": "User-1"},
        {"sub": "user-1 "},
    ],
    ids=str,
)
def test_an_event_about_nothing_here_is_taken_and_ends_nothing(
    standing: tuple[ProviderDesk, dict[str, Any]], told: dict[str, Any]
) -> None:
    desk, done = standing
    answer = desk.notify(event(**told))
    assert (answer.status_code, answer.content) == (202, b"")
    assert desk.agents.token(done["identity"]["assertion"]).status_code == 200


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "application/jwt", "application/logout+jwt", "text/plain",
     "application/secevent+jwt; charset=utf-8"],
)  # fmt: skip
def test_an_event_is_declared_as_one(
    standing: tuple[ProviderDesk, dict[str, Any]], content_type: str
) -> None:
    desk, done = standing
    answer = desk.notify(event(), content_type)
    assert (answer.status_code, answer.json()["reason"]) == (400, "wrong_event_type")
    assert desk.agents.token(done["identity"]["assertion"]).status_code == 200


def test_other_methods_and_sizes_are_refused_as_events_are(
    standing: tuple[ProviderDesk, dict[str, Any]],
) -> None:
    desk, _ = standing
    got = desk.http.get("/agent/event/notify")
    assert (got.status_code, got.headers["allow"], got.json()["err"]) == (405, "POST", "invalid_request")
    large = desk.notify("a" * 70_000)
    assert (large.status_code, large.json()["reason"]) == (413, "form_too_large")
    for body in ("", "a", "a.b.c", "é" * 100):
        assert desk.notify(body).json()["err"] == "authentication_failed"


def test_a_provider_ends_nothing_of_another_ones() -> None:
    """Both have a key of the same kid, and a subject of the same name."""
    second = Signer(key().kid, "ES256")
    objects = (
        provider_object(),
        provider_object("second", second, issuer=OTHER_PROVIDER, emailDomains=["example.com"]),
    )
    with provider_desk(*objects) as desk:
        mine = desk.linked()
        address = next(desk.agents._people)
        theirs = desk.confirmed(desk.show(id_jag(second, iss=OTHER_PROVIDER, email=address)).json())
        assert mine["id"] != theirs["id"]
        assert desk.notify(event(second, iss=OTHER_PROVIDER)).status_code == 202
        assert said(desk.agents.token(theirs["identity"]["assertion"]))[2] == "agent_ended"
        assert desk.agents.token(mine["identity"]["assertion"]).status_code == 200
        for forged in (event(second), id_jag(second)):
            assert desk.notify(forged).status_code == 400
        assert desk.agents.token(mine["identity"]["assertion"]).status_code == 200


@pytest.mark.parametrize("by", ["sub", "sub_id", "both"])
def test_an_event_names_its_subject_in_either_form(by: str) -> None:
    with provider_desk() as desk:
        done = desk.linked()
        told: dict[str, Any] = {"sub": {"sub": "user-1"}, "sub_id": {"sub": ..., "sub_id": _ID},
                                "both": {"sub_id": _ID}}[by]  # fmt: skip
        assert desk.notify(event(**told)).status_code == 202
        assert said(desk.agents.token(done["identity"]["assertion"]))[2] == "agent_ended"


def test_without_agents_there_is_no_place_for_events() -> None:
    from testing.agents import agent_objects

    with provider_desk() as desk:
        desk.running.change(*agent_objects(None, providers=[provider_object()]))
        assert desk.notify(event()).status_code == 404
