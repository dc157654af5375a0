# SPDX-License-Identifier: Apache-2.0
"""What gates do otherwise than the resources say is told row by row, and nothing where they agree."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import issuer, workload
from testing.manifests import service as a_service
from watchword.operator.published_gap import PublishedGap, gap_between
from watchword.trust import compile_resources, parse_manifests, seal
from watchword.trust.bundle import Bundle

NOW = 1_800_000_000.0
NAMES = ("a", "b", "c", "d")
# How one workload stands: not there, trusted, with other grants, suspended, expired.
STATES = st.sampled_from(["gone", "trusted", "other", "suspended", "expired"])
_CHANGES: dict[str, dict[str, Any]] = {
    "trusted": {},
    "other": {"grants": [{"scopes": ["account:usage:write"], "accounts": ["acme"]}]},
    "suspended": {"suspend": True},
    "expired": {"expires": "2020-01-01T00:00:00Z"},
}


def bundle(states: dict[str, str]) -> Bundle:
    objects = [issuer(), a_service()]
    objects += [workload(name, name, **_CHANGES[state]) for name, state in states.items() if state != "gone"]
    found = parse_manifests(
        [(f"{place}.json", msgspec.json.encode(each)) for place, each in enumerate(objects)]
    )
    [made] = compile_resources(found.resources).bundles
    return seal(made, 7)


def lets_in(state: str) -> bool:
    return state in ("trusted", "other")


@settings(deadline=None)
@given(
    st.fixed_dictionaries(dict.fromkeys(NAMES, STATES)), st.fixed_dictionaries(dict.fromkeys(NAMES, STATES))
)
def test_each_workload_is_named_by_what_gates_do_and_what_the_resources_say(
    held: dict[str, str], asked: dict[str, str]
) -> None:
    gap = gap_between(bundle(held), bundle(asked), NOW)
    for name in NAMES:
        gates, resources = lets_in(held[name]), lets_in(asked[name])
        assert (name in gap.absent) == (resources and not gates)
        assert (name in gap.lingering) == (gates and not resources)
        assert (name in gap.outdated) == (gates and resources and held[name] != asked[name])
    assert gap.generation == 7
    assert gap.is_known
    assert (gap.summary() == gap.source) == (not (gap.absent or gap.lingering or gap.outdated))


@settings(deadline=None)
@given(st.fixed_dictionaries(dict.fromkeys(NAMES, STATES)))
def test_without_a_bundle_whoever_is_to_be_trusted_is_absent(asked: dict[str, str]) -> None:
    gap = gap_between(None, bundle(asked), NOW)
    assert gap == PublishedGap(absent=frozenset(name for name in NAMES if lets_in(asked[name])))
    assert "no bundle" in gap.summary()


def test_a_key_that_was_revoked_and_not_published_is_told() -> None:
    made = bundle({"a": "trusted"})
    older = msgspec.structs.replace(made, issuers=(msgspec.structs.replace(made.issuers[0], urls=("x",)),))
    gap = gap_between(older, made, NOW)
    assert gap.is_issuer_outdated
    assert "newest keys or revocations" in gap.summary()


def test_what_is_not_known_is_not_said_to_be_well() -> None:
    assert "not known" in PublishedGap(is_known=False).summary()
