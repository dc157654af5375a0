# SPDX-License-Identifier: Apache-2.0
"""An issuer whose key endpoint misbehaves, seen from the gate: who was trusted stays in, nobody new gets in,
and all is well again once it behaves, without a restart.

That the fetcher itself keeps its bounds is tested beside it (tests/operator/keys); here are the callers. That
silence is said takes three attempts of 15 seconds; with `WATCHWORD_SLOW_FAULTS=1` that is waited for.
"""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from testing.controlplane import Binaries, Etcd, SigningKey, start_cluster, wait_until
from testing.faults.standing import WORKLOADS, Onlooker, Standing
from testing.gate_process import workload
from testing.keys.authority import Authority
from testing.keys.endpoint import Behaviour, Endpoint, Visit, always, answer, endpoint
from testing.tokens import Signer, token
from tests.cluster.keys.rotating import RotatingCluster
from watchword.identity import load_jwks

_ISSUERS = "/apis/watchword.dev/v1alpha1/clustertrustedissuers"
IS_SLOW = os.environ.get("WATCHWORD_SLOW_FAULTS") == "1"
ACCOUNT = ("atlas-production", "atlas")


@dataclass
class Elsewhere:
    """A cluster of which there are its keys, its endpoint and one trusted workload, and nothing else."""

    name: str
    installation: Standing
    authority: Authority
    endpoint: Endpoint
    signer: Signer
    _interval: int = field(default=300)

    @property
    def url(self) -> str:
        return f"https://{self.name}.example"

    def trust(self) -> None:
        discovery = {"jwksURL": self.endpoint.url(), "caBundle": self.authority.pem}
        self.installation.cluster.apply(
            {
                "apiVersion": "watchword.dev/v1alpha1",
                "kind": "ClusterTrustedIssuer",
                "metadata": {"name": self.name},
                "spec": {"issuer": self.url, "keys": {"discovery": {**discovery, "intervalSeconds": 300}}},
            }
        )
        self.installation.cluster.apply(workload(self.name, self.name, ACCOUNT))

    def forget(self) -> None:
        self.installation.cluster.request("DELETE", f"{WORKLOADS}/{self.name}")
        self.installation.cluster.request("DELETE", f"{_ISSUERS}/{self.name}")

    def token(self, signer: Signer | None = None) -> str:
        now = int(time.time())
        return token(signer or self.signer, iss=self.url, iat=now, nbf=now, exp=now + 3600).decode()

    def keys(self, *signers: Signer) -> Behaviour:
        document = {"keys": [each.jwk for each in (signers or (self.signer,))]}
        return always(answer(json.dumps(document).encode()))

    def patch(self, spec: dict[str, Any]) -> None:
        kind = "application/merge-patch+json"
        path = f"{_ISSUERS}/{self.name}"
        self.installation.cluster.request("PATCH", path, {"spec": spec}, content_type=kind)

    def ask_now(self) -> None:
        """Have it asked at once, and wait until it was: an edit of how often does."""
        before = self.endpoint.connections
        self._interval += 1
        self.patch({"keys": {"discovery": {"intervalSeconds": self._interval}}})
        wait_until(lambda: self.endpoint.connections > before, what="it is asked", timeout_seconds=60)

    def condition(self, kind: str) -> dict[str, Any]:
        status = self.installation.cluster.request("GET", f"{_ISSUERS}/{self.name}").get("status", {})
        found = [each for each in status.get("conditions", []) if each["type"] == kind]
        return found[0] if found else {"status": "", "reason": "", "message": ""}

    def wait_for(self, kind: str, *reasons: str) -> None:
        wait_until(
            lambda: self.condition(kind)["reason"] in reasons,
            what=f"{self.name}: {kind} is one of {reasons}",
            timeout_seconds=90,
        )


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def certificate(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    return authority.server(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(scope="module")
def known(installation: Standing, authority: Authority, certificate: ssl.SSLContext) -> Iterator[Elsewhere]:
    """One that behaved until now: its caller is in."""
    with endpoint(certificate, lambda visit: None) as running:
        made = Elsewhere("known", installation, authority, running, Signer("known-key"))
        running.behaviour = made.keys()
        made.trust()
        installation.wait_until_in(made.token())
        yield made
        made.forget()


@pytest.fixture
def fresh(installation: Standing, authority: Authority, certificate: ssl.SSLContext) -> Iterator[Elsewhere]:
    """One that nobody has heard of yet; `trust` it."""
    with endpoint(certificate, lambda visit: None) as running:
        made = Elsewhere("fresh", installation, authority, running, Signer("fresh-key"))
        yield made
        made.forget()
        installation.wait_until_out(made.token())


FOREIGN = Signer("foreign-key")


def hundred_mebibytes(visit: Visit) -> None:
    visit.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 104857600\r\n\r\n{")
    for _ in range(100):
        visit.send(b" " * (1 << 20))


def hang(visit: Visit) -> None:
    """Say nothing for as long as the endpoint behaves so."""
    while visit.endpoint.behaviour is hang and not visit.endpoint.over.is_set():
        time.sleep(0.1)


def trickle(visit: Visit) -> None:
    """A byte at a time, in a header that never ends."""
    visit.send(b"HTTP/1.1 200 OK\r\nX: ")
    while visit.endpoint.behaviour is trickle and not visit.endpoint.over.is_set():
        visit.send(b"x")
        time.sleep(0.1)


def nested(visit: Visit) -> None:
    visit.send(answer(b'{"keys":' + b"[" * 100_000))


MISBEHAVIOURS: dict[str, Behaviour] = {
    "hangs": hang,
    "closes at once": lambda visit: None,
    "trickles": trickle,
    "sends 100 MiB": hundred_mebibytes,
    "sends an empty set": always(answer(b'{"keys": []}')),
    "sends no set": always(answer(b"{}")),
    "sends what is no JSON": always(answer(b"<html>sign in</html>", kind="text/html")),
    "sends nested lists": nested,
    "lies: a set of another kind": always(
        answer(b'{"keys": [{"kty": "oct", "k": "AAAA", "kid": "known-key"}]}')
    ),
    "lies: somebody else's keys": always(answer(json.dumps({"keys": [FOREIGN.jwk]}).encode())),
    "redirects to another host": always(answer(b"", "302 Found", Location="https://other.example/keys")),
    "redirects to metadata": always(
        answer(b"", "307 Temporary Redirect", Location="http://169.254.169.254/")
    ),
    "redirects to a file": always(answer(b"", "301 Moved Permanently", Location="file:///etc/passwd")),
    "fails": always(answer(b"no", "500 Internal Server Error")),
    "is busy": always(answer(b"no", "429 Too Many Requests", Retry_After="1")),
    "is gone": always(answer(b"no", "404 Not Found")),
    "wants a credential": always(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n"),
}


@pytest.mark.parametrize("misbehaviour", MISBEHAVIOURS)
def test_who_was_trusted_stays_in_nobody_new_gets_in_and_it_mends_itself(
    installation: Standing, known: Elsewhere, fresh: Elsewhere, misbehaviour: str
) -> None:
    foreign = (known.token(FOREIGN), fresh.token(FOREIGN))
    with Onlooker(installation.gate, trusted=(known.token(),), strangers=foreign) as onlooker:
        for each in (known, fresh):
            each.endpoint.behaviour = MISBEHAVIOURS[misbehaviour]
        known.ask_now()
        fresh.trust()
        # Foreign keys are the first that a fresh issuer ever serves: those it may have, as any first ones.
        if "somebody else" not in misbehaviour:
            if IS_SLOW or misbehaviour not in {"hangs", "trickles"}:
                known.wait_for("KeysFresh", "Unreachable", "AnswerRefused", "AllKeysLost")
                fresh.wait_for("KeysFresh", "NeverFetched", "Unreachable", "AnswerRefused", "AllKeysLost")
                assert "Remedy: " in known.condition("KeysFresh")["message"]
            assert not installation.is_in(fresh.token())
            installation.check_that_edits_count()
        else:
            onlooker.strangers = (known.token(FOREIGN),)
            known.wait_for("RotationSettled", "KeysPending")
        for each in (known, fresh):
            each.endpoint.behaviour = each.keys()
            each.ask_now()
        known.wait_for("KeysFresh", "Fetched")
        if "somebody else" not in misbehaviour:
            installation.wait_until_in(fresh.token())
    assert onlooker.wrong == []


def test_a_hard_rotation_lets_the_new_key_in_once_a_person_approves_it_and_the_old_one_meanwhile(
    installation: Standing, known: Elsewhere
) -> None:
    successor = Signer("successor-key")
    [thumbprint] = [key.thumbprint for key in load_jwks(json.dumps({"keys": [successor.jwk]}).encode()).keys]
    old, new = known.token(), known.token(successor)
    with Onlooker(installation.gate, trusted=(old,), strangers=(new,)) as onlooker:
        known.endpoint.behaviour = known.keys(successor)
        known.ask_now()
        known.wait_for("RotationSettled", "KeysPending")
        installation.check_that_edits_count()
    assert onlooker.wrong == []
    known.patch({"rotation": {"approved": [thumbprint]}})
    installation.wait_until_in(new)
    assert installation.is_in(old), "its key retires; tokens of it are still about"
    known.endpoint.behaviour = known.keys(known.signer, successor)
    known.ask_now()


def test_a_cluster_that_rotates_hard_and_then_changes_its_iss_is_let_in_again_by_two_edits(
    installation: Standing,
    control_plane: Binaries,
    etcd: Etcd,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """A real second API server: its key files are replaced without an overlap, then its `iss` moves."""
    folder = tmp_path_factory.mktemp("moving")
    cluster = installation.cluster
    with start_cluster(folder, etcd=etcd, binaries=control_plane, issuer="https://old.example") as second:
        moving = RotatingCluster(second, folder)
        discovery = {"jwksURL": moving.keys_url, "caBundle": second.authority.read_text()}

        def apply(interval: int, **spec: Any) -> None:
            keys = {"discovery": {**discovery, "intervalSeconds": interval}}
            made = {"issuer": "https://old.example", "keys": keys, **spec}
            head = {"apiVersion": "watchword.dev/v1alpha1", "kind": "ClusterTrustedIssuer"}
            cluster.apply({**head, "metadata": {"name": "moving"}, "spec": made})

        apply(300)
        cluster.apply(workload("moving", "moving", ("atlas", "atlas")))
        first = moving.token().decode()
        installation.wait_until_in(first)

        moving.rotate(SigningKey("ES256"))
        rotated = moving.token().decode()
        with Onlooker(installation.gate, trusted=(first,), strangers=(rotated,)) as onlooker:
            apply(301)
            wait_until(lambda: bool(_pending(installation)), what="the new key waits", timeout_seconds=90)
        assert onlooker.wrong == []
        apply(301, rotation={"approved": _pending(installation)})
        installation.wait_until_in(rotated)

        moving.move("https://new.example", "https://old.example")
        moved = moving.token().decode()
        assert installation.gate.ask(moved).reason == "wrong_issuer"
        assert installation.is_in(rotated)
        apply(302, additionalIssuers=["https://new.example"])
        installation.wait_until_in(moved)
        assert installation.is_in(rotated)
    installation.check_that_edits_count()
    assert installation.is_in(moved), "its keys stand though it is away"
    cluster.request("DELETE", f"{WORKLOADS}/moving")
    cluster.request("DELETE", f"{_ISSUERS}/moving")
    installation.wait_until_out(moved)


def _pending(installation: Standing) -> list[str]:
    status = installation.cluster.request("GET", f"{_ISSUERS}/moving").get("status", {})
    return [key["thumbprint"] for key in status.get("keys", []) if key["state"] == "Pending"]
