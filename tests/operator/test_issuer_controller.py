# SPDX-License-Identifier: Apache-2.0
"""Which services a change of issuers reaches: each whose bundle or problems it changes."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import issuer, service, workload
from testing.tokens import Signer
from tests.operator.objects import remove, take
from watchword.kube.names import NamespacedName
from watchword.operator.cache import Cache
from watchword.operator.controllers.issuer import IssuerController
from watchword.trust.api.v1alpha1 import ProtectedService, TrustedWorkload
from watchword.trust.conditions import SERVICE, ConditionValue, Verdict
from watchword.trust.key_rotation.held_keys import HeldKey
from watchword.trust.service import ServiceCompilation, compile_service

ONE, TWO = Signer("one", "ES256"), Signer("two", "ES256")
NAMING, OTHER = NamespacedName("tuist", "tuist-server"), NamespacedName("tuist", "other")
ISSUERS = ("production", "staging")


class Served:
    """What is known of an issuer's keys: those that it serves."""

    held: tuple[HeldKey, ...] = ()
    fetched_at: float | None = 0.0

    def __init__(self, *signers: Signer) -> None:
        self.jwks: bytes | None = json.dumps({"keys": [each.jwk for each in signers]}).encode()

    @property
    def fresh(self) -> ConditionValue:
        return Verdict.PUBLISHED.with_message()

    settled = fresh


class Keys:
    """Fetches nothing, and knows what a test says."""

    def __init__(self) -> None:
        self.served: dict[str, Served] = {}

    def set_issuer(self, issuer: Any, held: Any) -> None: ...
    def drop_issuer(self, name: str) -> None: ...
    def keys_of(self, name: str) -> Any:
        return self.served.get(name, Served())

    def take_changes(self, name: str) -> tuple[()]:
        return ()


def revoking(*signers: Signer) -> dict[str, Any]:
    return {"revoked": [{"keyThumbprint": each.key.thumbprint} for each in signers]}


def installed() -> tuple[Cache, Keys, IssuerController]:
    """Two services of one namespace: the workload of one names an issuer, and the other has none."""
    store, follower = Cache(), Keys()
    for each in (service(NAMING[1]), service(OTHER[1]), workload()):
        take(store, each)
    return store, follower, IssuerController(store, follower)


def compiled(store: Cache, board: IssuerController) -> dict[tuple[str, str], ServiceCompilation]:
    found = {}
    for entry in store.entries(SERVICE):
        assert isinstance(entry.resource, ProtectedService)
        place = NamespacedName(entry.resource.metadata.namespace, entry.resource.metadata.name)
        workloads = [
            each.resource for each in store.workloads_of(place) if isinstance(each.resource, TrustedWorkload)
        ]
        found[place] = compile_service(entry.resource, workloads, board.issuers)
    return found


def test_a_key_that_an_issuer_of_revoked_keys_serves_besides_reaches_the_services() -> None:
    """Else their gates advise to pin a key that was taken back."""
    store, follower, board = installed()
    take(store, issuer(keys={"discovery": {}}, **revoking(ONE, TWO)))
    follower.served["production"] = Served(ONE)
    board.judge(["production"])
    follower.served["production"] = Served(ONE, TWO)
    assert board.judge(["production"]) == {NAMING, OTHER}


def test_an_issuer_of_which_only_revoked_keys_are_left_reaches_services_that_do_not_name_it() -> None:
    store, follower, board = installed()
    follower.served["staging"] = Served(ONE)
    take(store, issuer("staging", keys={"discovery": {}}, **revoking(ONE)))
    assert board.judge(["staging"]) == {NAMING, OTHER}
    remove(store, issuer("staging"))
    assert board.judge(["staging"]) == {NAMING, OTHER}


def test_an_issuers_url_reaches_services_that_are_not_understood() -> None:
    """Their published bundles stand, and may accept a URL that their specs do not declare any more."""
    store, _, board = installed()
    newer = service("newer")
    take(store, newer | {"spec": newer["spec"] | {"ofTomorrow": True}})
    board.judge(["production", "staging"])
    take(store, issuer("staging", issuer="https://new.example.com", keys={"discovery": {}}))
    assert NamespacedName("tuist", "newer") in board.judge(["staging"])


SERVED = [(), (ONE,), (TWO,), (ONE, TWO)]
STATES = [
    None,
    *(
        (served, revoked, allowed)
        for served, revoked in itertools.product(SERVED, SERVED)
        for allowed in (None, "tuist", "elsewhere")
    ),
]
steps = st.tuples(st.sampled_from(ISSUERS), st.sampled_from(STATES))


@given(st.lists(steps, min_size=2, max_size=6))
def test_every_service_that_a_change_of_issuers_changes_is_reached(steps: list[Any]) -> None:
    store, follower, board = installed()
    for name, state in steps:
        before = compiled(store, board)
        if state is None:
            remove(store, issuer(name), uid=uid_of(store, name))
        else:
            served, revoked, allowed = state
            follower.served[name] = Served(*served)
            labels = {"kubernetes.io/metadata.name": allowed}
            limits = {} if allowed is None else {"allowedNamespaces": {"matchLabels": labels}}
            spec = revoking(*revoked) | limits
            # One that is deleted comes back as another object.
            uid = uid_of(store, name) or f"{name}-{next(_uids)}"
            take(store, issuer(name, keys={"discovery": {}}, **spec), uid=uid, generation=next(_uids))
        reached = board.judge([name])
        after = compiled(store, board)
        assert {place for place in after if after[place] != before[place]} <= reached


_uids = itertools.count(1)


def uid_of(store: Cache, name: str) -> str:
    entry = store.entry("ClusterTrustedIssuer", "", name)
    return "" if entry is None else entry.uid
