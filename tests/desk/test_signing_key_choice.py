# SPDX-License-Identifier: Apache-2.0
"""Which key a desk signs with: one that gates know, from its time on, and never none for one lazy bundle."""

from __future__ import annotations

from testing.desk import DESK, DESK_NAMESPACE, RULES, desk, desk_service, workload
from testing.manifests import issuer, parsed
from watchword.desk.configuration import Configuration, KeyRecord, make_state
from watchword.desk.minting import SigningKey
from watchword.trust import compile_resources
from watchword.trust.desks import DeskKeys

NOW = 1_800_000_000.0
OLD, NEW = SigningKey.generate(), SigningKey.generate()


def signs(*records: KeyRecord, in_bundle: tuple[SigningKey, ...] = (OLD, NEW)) -> str | None:
    """The kid that signs, with a bundle that holds these keys; records are the newest first."""
    resources = parsed(issuer(), desk_service(), desk(), workload()).resources
    keys = {(DESK_NAMESPACE, DESK): DeskKeys(tuple(dict(each.jwk) for each in in_bundle))}
    bundles = compile_resources(resources, audiences=RULES, desk_keys=keys).bundles
    configuration = Configuration(desk=resources.desks[0], cluster_id="dev", bundles=bundles, keys=records)
    state = make_state(configuration, store_id="s", bindings={}, now=NOW)
    return state.signing.kid if state.signing is not None else None


def test_a_new_key_waits_for_its_time_though_every_bundle_has_it() -> None:
    old = KeyRecord(OLD, NOW - 9000, NOW - 9600)
    assert signs(KeyRecord(NEW, NOW + 1, NOW - 599), old) == OLD.kid
    assert signs(KeyRecord(NEW, NOW, NOW - 600), old) == NEW.kid


def test_one_bundle_that_lacks_it_holds_it_up_for_ten_minutes_at_most() -> None:
    old = KeyRecord(OLD, NOW - 9000, NOW - 9600)
    assert signs(KeyRecord(NEW, NOW - 1, NOW - 599), old, in_bundle=(OLD,)) == OLD.kid
    assert signs(KeyRecord(NEW, NOW - 1, NOW - 600), old, in_bundle=(OLD,)) == NEW.kid


def test_the_first_key_signs_once_the_bundles_have_it_and_not_before() -> None:
    first = KeyRecord(NEW, NOW - 1, NOW - 1)
    assert signs(first, in_bundle=(NEW,)) == NEW.kid
    assert signs(first, in_bundle=()) is None


def test_a_key_that_waits_takes_over_where_the_one_before_was_revoked() -> None:
    assert signs(KeyRecord(NEW, NOW + 300, NOW - 300), in_bundle=(NEW,)) == NEW.kid
