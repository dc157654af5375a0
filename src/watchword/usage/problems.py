# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an event, a body or a query, as values with a stable code and a remedy.

An answer of "400 bad event" leaves the sender of a batch of a thousand to guess which one and why, and
guessing is how usage gets lost or counted twice. So each problem says where, what, and what would be right.
"""

from __future__ import annotations

import msgspec


class EventProblem(msgspec.Struct, frozen=True, gc=False):
    """One event that was not stored. The other events of its batch stand.

    `index` is the event's position in the batch, from 0. `code` is stable and meant for programs, `field`
    names the attribute (or `data` and a JSON pointer), `detail` says what was found and `remedy` what to send
    instead.
    """

    index: int
    code: str
    field: str
    detail: str
    remedy: str


class BodyProblem(msgspec.Struct, frozen=True):
    """A body in which no single event can be told apart: nothing of it was stored.

    `status` is the HTTP status that says so: 400 (not CloudEvents), 413 (too large) or 415 (another format).
    """

    status: int
    code: str
    detail: str
    remedy: str


class QueryProblem(msgspec.Struct, frozen=True):
    """A query of the read model that has no answer. `parameter` is the name in the query string, or
    `account`.
    """

    parameter: str
    code: str
    detail: str
    remedy: str


def shown(text: object) -> str:
    """Quote hostile input as short printable ASCII, so that a problem can go to a log or a terminal."""
    return _short(ascii(text))


def named(name: str) -> str:
    """Give a hostile name as short printable ASCII, without quotes: what a problem is about."""
    return _short(ascii(name)[1:-1])


def _short(plain: str) -> str:
    return plain if len(plain) <= 80 else plain[:77] + "..."
