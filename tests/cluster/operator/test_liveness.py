# SPDX-License-Identifier: Apache-2.0
"""A ServiceAccount of this cluster that is deleted or made anew: its old tokens end, and nobody is asked.

The tokens are real, and good for an hour by what is signed in them; the gate hears of the deletion through
its bundle alone. A ServiceAccount made anew under the same name is somebody else.
"""

from __future__ import annotations

import time

import pytest

from testing.controlplane import wait_until
from testing.faults.standing import APPS, Onlooker, Standing
from testing.gate_process import AUDIENCE, issuer, workload
from testing.tokens import Signer, token


def wait_for(installation: Standing, shown: str | bytes, reason: str) -> None:
    """Until the gate's answer to this token has this reason; empty for a yes."""
    wait_until(
        lambda: installation.gate.ask(shown).reason == reason,
        what=f"the gate says {reason or 'yes'}",
        timeout_seconds=60,
    )


def token_of(installation: Standing, name: str) -> str:
    return installation.cluster.token(APPS, name, [AUDIENCE], pod=name, expiration_seconds=3600)


def make_anew(installation: Standing, name: str) -> str:
    """Delete a ServiceAccount with its pod, make both again, and mint a token for the new one."""
    installation.cluster.delete_service_account(APPS, name)
    installation.cluster.delete_pod(APPS, name)
    installation.cluster.create_service_account(APPS, name)
    installation.cluster.create_pod(APPS, name, name)
    return token_of(installation, name)


def test_a_deleted_account_is_refused_and_the_next_of_its_name_is_somebody_else(
    installation: Standing,
) -> None:
    name, old = installation.newcomer()
    wait_for(installation, old, "")
    _, bystander = installation.newcomer()
    wait_for(installation, bystander, "")
    with Onlooker(installation.gate, trusted=(bystander,), strangers=()) as onlooker:
        installation.cluster.delete_service_account(APPS, name)
        wait_for(installation, old, "stale_identity")
        installation.cluster.create_service_account(APPS, name)
        # Its pod is still the old one; what counts is the account.
        new = token_of(installation, name)
        wait_for(installation, new, "")
        assert installation.gate.ask(old).reason == "stale_identity"
    assert onlooker.wrong == []


def test_an_account_made_anew_at_once_is_somebody_else(installation: Standing) -> None:
    name, old = installation.newcomer()
    wait_for(installation, old, "")
    new = make_anew(installation, name)
    wait_for(installation, new, "")
    assert installation.gate.ask(old).reason == "stale_identity"


def test_an_account_that_is_trusted_before_it_is_there(installation: Standing) -> None:
    name, forgotten = installation.account()
    installation.cluster.delete_service_account(APPS, name)
    installation.trust(name)
    # Signed for the account that was: trust in its name is none in it.
    wait_for(installation, forgotten, "stale_identity")
    installation.cluster.create_service_account(APPS, name)
    wait_for(installation, token_of(installation, name), "")
    assert installation.gate.ask(forgotten).reason == "stale_identity"


def test_an_account_made_anew_while_the_operator_could_not_look(installation: Standing) -> None:
    name, old = installation.newcomer()
    wait_for(installation, old, "")
    _, bystander = installation.newcomer()
    wait_for(installation, bystander, "")
    with Onlooker(installation.gate, trusted=(bystander,), strangers=()) as onlooker:
        installation.proxy.refuse()
        new = make_anew(installation, name)
        installation.proxy.pass_through()
        wait_for(installation, new, "")
        assert installation.gate.ask(old).reason == "stale_identity"
    assert onlooker.wrong == []


def test_the_gate_asks_nobody_about_an_account(installation: Standing) -> None:
    name, old = installation.newcomer()
    wait_for(installation, old, "")
    installation.cluster.delete_service_account(APPS, name)
    wait_for(installation, old, "stale_identity")
    installation.gate_proxy.refuse()
    try:
        assert installation.gate.ask(old).reason == "stale_identity"
        # Neither does it learn anything without its bundle: what it cannot hear of, it cannot know.
        other, unheard = installation.account()
        assert installation.gate.ask(unheard).reason == "unknown_workload"
        installation.trust(other)
        assert installation.gate.ask(unheard).reason == "unknown_workload"
    finally:
        installation.gate_proxy.pass_through()
    wait_for(installation, unheard, "")


@pytest.fixture
def elsewhere(installation: Standing) -> Signer:
    """The key of another cluster, trusted as the issuer `elsewhere`."""
    signer = Signer("elsewhere")
    installation.cluster.apply(issuer("elsewhere", {"keys": [signer.jwk]}, iss="https://elsewhere.example"))
    return signer


def test_another_clusters_account_of_the_same_name_does_not_hang_on_ours(
    installation: Standing, elsewhere: Signer
) -> None:
    name, ours = installation.newcomer()
    wait_for(installation, ours, "")
    now = int(time.time())
    account = {"namespace": APPS, "serviceaccount": {"name": name, "uid": "of-another-cluster"}}
    theirs = token(
        elsewhere,
        iss="https://elsewhere.example",
        sub=f"system:serviceaccount:{APPS}:{name}",
        iat=now,
        nbf=now,
        exp=now + 3600,
        **{"kubernetes.io": {**account, "pod": {"name": "p", "uid": "u"}}},
    )
    installation.cluster.apply(workload(f"{name}-elsewhere", "elsewhere", (APPS, name)))
    wait_for(installation, theirs, "")
    installation.cluster.delete_service_account(APPS, name)
    wait_for(installation, ours, "stale_identity")
    assert installation.gate.ask(theirs).reason == ""
