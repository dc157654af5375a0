# SPDX-License-Identifier: Apache-2.0
"""Good objects with something wrong put into them at random, the same from one run to the next.

Values come from what parsers are known to differ on: white space of all kinds, numbers in other dress, times
and networks that almost are, members that are null, missing, doubled or unknown.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from tests.trust.admission import ACCEPTED, Object

_TEXTS = (
    "", " ", "a", "A", "*", "a*", "a,b", "a b", " a", "a\n", "a\t", "a\x7f", "a\x85", "a\u00a0b", "a\u2028",
    "\u200b", "é", "日本", "😀", "a" * 64, "a" * 254, "a" * 600, "https://a", "http://a", "https://a b",
    "https://a/#b", "https://é/", "system:serviceaccount:a:b", "a.b", "a..b", "-a", "a-", "a/b", "../a",
    "a:b", "a:b:c", "a:b:c:d", "GET", "get", "/", "//", "/a/", "/a/%", "/a/%2e", "/a/%2F", "/a/%zz", "/{a}",
    "/{account}/{account}", "/a;b", "/~1", "/~2", "10.0.0.0/8", "10.0.0.1/8", "10.0.0.0/08", "10.0.0.0",
    "0.0.0.0/0", "::/0", "::1/128", "2001:db8::/32", "2001:DB8:0:0::/32", "::ffff:1.2.3.0/120", "1.2.3/24",
    "10.1.0.0/16", "2027-01-01T00:00:00Z", "2027-01-01T00:00:00+00:00", "2027-01-01T00:00:00-00:00",
    "2027-02-30T00:00:00Z", "2027-01-01T23:59:60Z", "2027-01-01", "9999-12-31T23:59:59-14:00",
    "0001-01-01T00:00:00Z", "Pod", "pod", "none", "RS256", "sum", "count", "Pin", "Enforce", "true", "1",
    "null", "A" * 43, "_" * 43, "=" * 43, "/a\u0378",
)  # fmt: skip
_OTHERS: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 59, 60, 8443, 65535, 65536, 86_400, 86_401, 1.0, 1.5, 1e30, 2**63, [], {},
    [[]], ["a"], ["a", "a"], [None], {"a": "b"}, {"a": 1}, {"matchLabels": {}},
    {"matchLabels": {"a": "b c"}}, {"name": "a"}, {"keys": []}, {"keys": [{}]}, {"keys": [1]},
    {"cluster": {}},
)  # fmt: skip
_NAMES = (
    "namespace",
    "name",
    "matchExpressions",
    "keys",
    "value",
    "except",
    "tokenId",
    "ipBlock",
    "podSelector",
    "x",
)
_GOOD = tuple(document for name, document in ACCEPTED.items() if "largest" not in name)
_HOW = ("replace", "replace", "replace", "remove", "add", "double")


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member and entry below a value."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for key, member in entries:
        yield (*path, key)
        yield from _places(member, (*path, key))


@st.composite
def objects(draw: st.DrawFn) -> Object:
    """An object of one of the three kinds, changed in one to three places of its spec."""
    document = copy.deepcopy(draw(st.sampled_from(_GOOD)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document["spec"]))
        if not places:
            break
        *way, last = draw(st.sampled_from(places))
        holder = document["spec"]
        for step in way:
            holder = holder[step]
        _change(draw, holder, last)
    return document


def _change(draw: st.DrawFn, holder: Any, last: Any) -> None:
    # Drawn values are shared between examples, and the next change may reach into this one.
    value = copy.deepcopy(draw(st.sampled_from(_TEXTS) | st.sampled_from(_TEXTS + _OTHERS)))
    match draw(st.sampled_from(_HOW)):
        case "remove":
            del holder[last]
        case "add" if isinstance(holder, dict):
            holder[draw(st.sampled_from(_NAMES))] = value
        case "double" if isinstance(holder, list):
            holder.append(copy.deepcopy(holder[last]))
        case _:
            holder[last] = value
