# SPDX-License-Identifier: Apache-2.0
"""A cluster rotates its keys, hard and softly, and moves its `iss`: who is believed after each step.

One API server goes through the story once, followed under all four policies at the same time; every step is
written down, and the tests read what was written.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest

from testing.controlplane import DEFAULT_ISSUER, Binaries, Etcd, SigningKey, start_cluster
from testing.keys.polling import World, issuer, running, until
from testing.manifests import parsed, service, workload
from tests.cluster.keys.rotating import RotatingCluster
from watchword.identity import Refusal, load_jwks, verify
from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.credentials import CredentialSecret
from watchword.trust import Resources, compile_resources, decode_bundle, encode_bundle, load
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer

POLICIES = ("Pin", "Approve", "Continuity", "Follow")
NEW_ISSUER = "https://moved.example.test"
LOOPBACK = AddressRules((ip_network("127.0.0.0/8"),))


class Step(msgspec.Struct):
    """What was seen after one step of the story, by policy."""

    states: dict[str, dict[str, str]]
    settled: dict[str, str]
    decisions: dict[str, dict[str, str]]


class Story:
    """The cluster, its followers, and the tokens and keys that have a name in the story."""

    def __init__(self, rotating: RotatingCluster, world: World) -> None:
        self.rotating, self.world = rotating, world
        self.tokens: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.specs: dict[str, dict[str, Any]] = {}
        self.steps: dict[str, Step] = {}
        # What is said of the issuer that is asked with a credential: condition, text, keys trusted.
        self.with_credential: list[tuple[str, str, list[str]]] = []
        self.has_live_credential = False

    def name_key(self, letter: str) -> str:
        """The thumbprint of the key that signs now, called by this letter from here on."""
        token = self.rotating.token()
        self.tokens[letter] = token
        kid = self.kid_of(token)
        served = load_jwks(msgspec.json.encode(self.rotating.cluster.jwks())).keys
        (thumbprint,) = (key.thumbprint for key in served if key.kid == kid)
        self.names[thumbprint] = letter
        return thumbprint

    @staticmethod
    def kid_of(token: bytes) -> str:
        from testing.controlplane import token_parts

        return str(token_parts(token.decode())[0]["kid"])

    def edit(self, policy: str, **spec: Any) -> None:
        """Edit the issuer that is followed under a policy."""
        current = self.specs.setdefault(policy, {"rotation": {"policy": policy}})
        current.update(spec)
        self.world.sync.set_issuer(self.issuer(policy), ())

    def issuer(self, policy: str) -> ClusterTrustedIssuer:
        source = {
            "jwksURL": self.rotating.keys_url,
            "caBundle": self.rotating.cluster.authority.read_text(),
            "intervalSeconds": 30,
        }
        spec = {"issuer": DEFAULT_ISSUER, **self.specs[policy]}
        return issuer({"discovery": source}, name=policy.lower(), uid=policy, **spec)

    def follow_with_credential(self) -> None:
        """Follow once more, with a token of the cluster's own in a Secret."""
        host = self.rotating.keys_url.split("/")[2]
        secret = CredentialSecret("credential", host, self.rotating.reader_token())
        self.world.secrets["watchword-system", "reader", "token"] = secret
        source = {
            "jwksURL": self.rotating.keys_url,
            "caBundle": self.rotating.cluster.authority.read_text(),
            "credentialSecretRef": {"namespace": "watchword-system", "name": "reader"},
        }
        self.has_live_credential = True
        followed = issuer({"discovery": source}, name="credential", issuer=DEFAULT_ISSUER)
        self.world.sync.set_issuer(followed, ())

    async def note_with_credential(self, reason: str) -> None:
        await until(lambda: self.world.fresh("credential") == reason, f"with a credential: {reason}", 120)
        facts = self.world.sync.keys_of("credential")
        names = sorted(self.names[key.thumbprint] for key in facts.held if key.is_trusted)
        self.with_credential.append((reason, facts.fresh.message, names))

    async def look(self, step: str) -> None:
        """Have each issuer asked once more, and write down what came of it."""
        self.world.now += 1
        for followed in self.world.sync._polled.values():
            followed.due = 0.0
            followed.wake.set()
        await until(self.all_answered, f"every issuer has a good answer after: {step}", 120)
        self.note(step)

    def all_answered(self) -> bool:
        names = [*map(str.lower, POLICIES), *(["credential"] if self.has_live_credential else [])]
        times = {self.world.sync.keys_of(name).fetched_at for name in names}
        if times != {self.world.now}:
            for followed in self.world.sync._polled.values():
                if followed.held.keys.fetched_at != self.world.now:
                    followed.due = 0.0
        return times == {self.world.now}

    def note(self, step: str) -> None:
        names = {policy: policy.lower() for policy in POLICIES}
        self.steps[step] = Step(
            states={
                policy: {self.names[key.thumbprint]: key.state for key in self.world.held(name)}
                for policy, name in names.items()
            },
            settled={policy: self.world.settled(name) for policy, name in names.items()},
            decisions={
                policy: {letter: self.decision(policy, token) for letter, token in self.tokens.items()}
                for policy in POLICIES
            },
        )

    def decision(self, policy: str, token: bytes) -> str:
        """What a gate says that runs on the bundle compiled from these keys."""
        name = policy.lower()
        others = parsed(service(), workload(issuerRef={"name": name}, namespace="atlas")).resources
        resources = Resources(
            issuers=(self.issuer(policy),), services=others.services, workloads=others.workloads
        )
        jwks = self.world.sync.keys_of(name).jwks
        (bundle,) = compile_resources(resources, keys={} if jwks is None else {name: jwks}).bundles
        decision = verify(token, load(decode_bundle(encode_bundle(bundle))).policy, time.time())
        return decision.reason.code if isinstance(decision, Refusal) else "yes"


@pytest.fixture(scope="module")
def story(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("rotating")
    with start_cluster(folder, etcd=etcd, binaries=control_plane, algorithm="ES256") as cluster:
        story = Story(RotatingCluster(cluster, folder), World(LOOPBACK))
        asyncio.run(tell(story))
        yield story


@pytest.fixture
def steps(story: Story) -> dict[str, Step]:
    return story.steps


async def tell(story: Story) -> None:
    rotating = story.rotating
    first = rotating.cluster._key
    second, third = SigningKey("RS256"), SigningKey("ES256")

    def approve(*thumbprints: str) -> None:
        for policy in ("Pin", "Approve", "Continuity"):
            story.edit(policy, rotation={"policy": policy, "approved": list(thumbprints)})

    async with running(story.world):
        a = story.name_key("a")
        approve(a)
        story.edit("Follow")
        story.follow_with_credential()
        await story.look("first")
        await story.note_with_credential("Fetched")
        # What a careful admin does: publish the new key first, let it sign later, take the old one out last.
        await asyncio.to_thread(rotating.rotate, first, second)
        served = load_jwks(msgspec.json.encode(rotating.cluster.jwks())).keys
        (b,) = (key.thumbprint for key in served if key.thumbprint != a)
        story.names[b] = "b"
        await story.look("published")
        await asyncio.to_thread(rotating.rotate, second, first)
        assert story.name_key("b") == b
        await story.look("signs")
        approve(a, b)
        story.note("approved")
        await asyncio.to_thread(rotating.rotate, second)
        story.has_live_credential = False
        await story.look("overlap ended")
        # The credential was signed with the key that is gone: it dies with it.
        await story.note_with_credential("AnswerRefused")
        story.follow_with_credential()
        story.world.sync._polled["credential"].due = 0.0
        story.world.sync._polled["credential"].wake.set()
        await story.note_with_credential("Fetched")
        story.has_live_credential = False
        # What happens when nobody is careful: another key, at once.
        await asyncio.to_thread(rotating.rotate, third)
        c = story.name_key("c")
        await story.look("hard")
        approve(a, b, c)
        story.note("hard, approved")
        # The third key leaked: its trust goes at once, served or not.
        for policy in POLICIES:
            story.edit(policy, revoked=[{"keyThumbprint": c}])
        story.note("revoked")
        fourth = SigningKey("ES256")
        await asyncio.to_thread(rotating.rotate, fourth)
        d = story.name_key("d")
        await story.look("revoked, and rotated")
        approve(a, b, d)
        story.note("pinned again")
        await asyncio.to_thread(rotating.move, NEW_ISSUER, DEFAULT_ISSUER)
        story.tokens["moved"] = rotating.token()
        await story.look("moved")
        for policy in POLICIES:
            story.edit(policy, additionalIssuers=[NEW_ISSUER])
        story.note("moved, and said")


def every(value: Any) -> dict[str, Any]:
    return dict.fromkeys(POLICIES, value)


def says(steps: dict[str, Step], step: str, letter: str) -> dict[str, str]:
    return {policy: decisions[letter] for policy, decisions in steps[step].decisions.items()}


def test_at_first_the_approved_key_is_trusted(steps: dict[str, Step]) -> None:
    assert steps["first"].states == every({"a": "Active"})
    assert says(steps, "first", "a") == every("yes")


def test_a_key_published_beside_a_trusted_one_is_taken_by_continuity(steps: dict[str, Step]) -> None:
    waits, taken = {"a": "Active", "b": "Pending"}, {"a": "Active", "b": "Active"}
    assert steps["published"].states == {"Pin": waits, "Approve": waits, "Continuity": taken, "Follow": taken}
    assert steps["published"].settled == every("Settled") | {"Approve": "KeysPending"}


def test_once_the_new_key_signs_only_policies_that_wait_refuse_it(steps: dict[str, Step]) -> None:
    expected = every("yes") | {"Pin": "unknown_key", "Approve": "unknown_key"}
    assert says(steps, "signs", "b") == expected
    assert says(steps, "signs", "a") == every("yes")


def test_an_approval_opens_without_another_answer(steps: dict[str, Step]) -> None:
    assert says(steps, "approved", "b") == every("yes")


def test_after_the_overlap_old_tokens_are_believed_until_the_key_retires(steps: dict[str, Step]) -> None:
    assert steps["overlap ended"].states == every({"b": "Active", "a": "Retiring"})
    assert says(steps, "overlap ended", "a") == every("yes")


def test_a_hard_rotation_drops_nobody_and_lets_nobody_new_in_but_under_follow(
    steps: dict[str, Step],
) -> None:
    held = {"a": "Retiring", "b": "Retiring"}
    assert steps["hard"].states == every(held | {"c": "Pending"}) | {"Follow": held | {"c": "Active"}}
    assert says(steps, "hard", "b") == every("yes")
    assert says(steps, "hard", "c") == every("unknown_key") | {"Follow": "yes"}
    assert steps["hard"].settled["Continuity"] == steps["hard"].settled["Approve"] == "KeysPending"


def test_after_a_hard_rotation_an_approval_opens(steps: dict[str, Step]) -> None:
    assert says(steps, "hard, approved", "c") == every("yes")


def test_a_revoked_key_is_refused_at_once_under_every_policy_though_it_is_served_and_approved(
    steps: dict[str, Step],
) -> None:
    assert says(steps, "revoked", "c") == every("unknown_key")
    assert says(steps, "revoked", "b") == every("yes")


def test_after_a_compromise_the_next_key_waits_for_a_person_but_under_follow(steps: dict[str, Step]) -> None:
    step = "revoked, and rotated"
    assert says(steps, step, "d") == every("unknown_key") | {"Follow": "yes"}
    assert says(steps, "pinned again", "d") == every("yes")
    assert says(steps, "pinned again", "c") == every("unknown_key")


def test_a_cluster_that_moves_its_iss_is_refused_until_that_is_said_and_then_both_are_taken(
    steps: dict[str, Step],
) -> None:
    assert says(steps, "moved", "moved") == every("wrong_issuer")
    assert says(steps, "moved", "d") == every("yes")
    assert says(steps, "moved, and said", "moved") == every("yes")
    assert says(steps, "moved, and said", "d") == every("yes")


def test_a_credential_of_the_cluster_dies_with_the_key_that_signed_it_and_takes_no_key_along(
    story: Story,
) -> None:
    first, dead, mended = story.with_credential
    assert first[2] == ["a"]
    assert "HTTP 401" in dead[1]
    assert "fresh token" in dead[1].lower()
    assert dead[2] == ["a", "b"]
    assert mended[2] == ["a", "b"]
