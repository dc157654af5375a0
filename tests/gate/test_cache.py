# SPDX-License-Identifier: Apache-2.0
"""The decision cache: bounded by bytes, one kind never pushing out the other, good for its time only."""

import msgspec
import pytest

from testing.manifests import issuer, service, workload
from testing.tokens import NOW, Signer, token
from tests.gate.running import RunningGate
from watchword.gate.authz_request import AuthzRequest, find_credential
from watchword.gate.cache import ENTRY_BYTES, BoundedCache


class Entry(msgspec.Struct, frozen=True):
    """Something to remember, from 0 to 10 unless said otherwise."""

    number: int = 1
    valid_from: float = 0
    valid_until: float = 10
    weight: int = ENTRY_BYTES


def found(cache: BoundedCache[Entry], key: bytes, now: float = 5) -> int | None:
    entry = cache.get(key, now)
    return None if entry is None else entry.number


def test_the_oldest_entries_give_way_once_the_bytes_are_used_up() -> None:
    cache: BoundedCache[Entry] = BoundedCache(3 * ENTRY_BYTES)
    for name in (b"a", b"b", b"c"):
        cache.put(name, Entry())
    cache.get(b"a", 5)
    cache.put(b"d", Entry())
    assert [name for name in (b"a", b"b", b"c", b"d") if found(cache, name)] == [b"a", b"c", b"d"]


def test_the_cache_stays_within_its_bytes_and_keeps_what_is_used() -> None:
    cache: BoundedCache[Entry] = BoundedCache(10 * ENTRY_BYTES)
    cache.put(b"kept", Entry(0))
    for number in range(1, 1000):
        assert found(cache, b"kept") == 0
        cache.put(b"token-%d" % number, Entry(number))
        assert cache.used_bytes <= cache.limit_bytes
    assert found(cache, b"token-1") is None
    assert found(cache, b"token-999") == 999


def test_a_heavy_entry_takes_the_room_of_many() -> None:
    cache: BoundedCache[Entry] = BoundedCache(10 * ENTRY_BYTES)
    for number in range(8):
        cache.put(bytes([number]), Entry())
    cache.put(b"x", Entry(weight=9 * ENTRY_BYTES))
    assert len(cache) == 2


def test_an_entry_that_is_larger_than_the_cache_is_not_kept() -> None:
    cache: BoundedCache[Entry] = BoundedCache(ENTRY_BYTES)
    cache.put(b"x", Entry(weight=ENTRY_BYTES + 1))
    assert (len(cache), cache.used_bytes) == (0, 0)


def test_putting_and_dropping_leaves_no_bytes_behind() -> None:
    cache: BoundedCache[Entry] = BoundedCache(10 * ENTRY_BYTES)
    cache.put(b"x", Entry(weight=2 * ENTRY_BYTES))
    cache.put(b"x", Entry(2))
    assert cache.get(b"x", 10) is None
    assert cache.used_bytes == 0


@pytest.mark.parametrize(("now", "expected"), [(4.9, None), (5.0, 1), (9.9, 1), (10.0, None)])
def test_an_entry_is_good_from_its_start_up_to_its_end(now: float, expected: int | None) -> None:
    cache: BoundedCache[Entry] = BoundedCache(10 * ENTRY_BYTES)
    cache.put(b"x", Entry(valid_from=5))
    assert found(cache, b"x", now) == expected


def test_a_flood_of_bad_tokens_pushes_out_no_good_one(gate: RunningGate) -> None:
    good = token()
    gate.call("/authz", good)
    active = gate.engine.active
    assert active is not None
    kinds = active.no.limit_bytes // ENTRY_BYTES + 1
    head, _, _ = good.rpartition(b".")
    for number in range(kinds):
        hostile = [(b"authorization", b"Bearer " + head + b"." + b"%08d" % number)]
        gate.engine.decide(AuthzRequest(find_credential(hostile)))
    assert active.no.used_bytes <= active.no.limit_bytes
    assert len(active.yes) == 1
    before = gate.counted("hit")
    assert gate.call("/authz", good).status_code == 200
    assert gate.counted("hit") == before + 1


def test_what_was_decided_under_the_old_bundle_is_not_kept_for_the_new_one(gate: RunningGate) -> None:
    old, given = gate.engine.active, token()
    assert old is not None
    gate.adopt(issuer(), service(), workload(suspend=True), generation=2)
    # A decision that began before the swap ends after it.
    gate.engine.authenticate(old, find_credential([(b"authorization", b"Bearer " + given)]))
    assert gate.call("/authz", given).json()["reason"] == "suspended"


def test_the_cached_time_of_an_expired_token_is_forgotten_soon(gate: RunningGate) -> None:
    given = token(exp=NOW - 100)
    gate.call("/authz", given)
    gate.now = NOW + 20
    assert gate.call("/authz", given).json()["detail"].startswith("exp was 120 s ago (")


def test_cheap_refusals_take_no_room(gate: RunningGate) -> None:
    for each in (b"x", token(Signer("strange")), token(header={"alg": "none"})):
        gate.call("/authz", each)
    active = gate.engine.active
    assert active is not None
    assert len(active.no) == 0


@pytest.mark.parametrize("spelling", ["Bearer", "bearer", "BEARER", "bEaReR"])
def test_a_token_is_remembered_once_however_its_scheme_is_spelled(gate: RunningGate, spelling: str) -> None:
    given = token()
    gate.call("/authz", given)
    headers = [("authorization", f"{spelling} {given.decode()}")]
    assert gate.call("/authz", headers=headers).status_code == 200
    active = gate.engine.active
    assert active is not None
    assert (len(active.yes), gate.counted("hit")) == (1, 1)


def test_no_token_is_kept(gate: RunningGate) -> None:
    good, bad = token(), token(aud=["another"])
    for each in (good, bad):
        gate.call("/authz", each)
    active = gate.engine.active
    assert active is not None
    kept = repr([*active.yes._entries.items(), *active.no._entries.items()])
    assert len(active.yes) == len(active.no) == 1
    assert [part for each in (good, bad) for part in each.decode().split(".")[1:] if part in kept] == []
