# SPDX-License-Identifier: Apache-2.0
"""Desk tokens that are refused, and what a reader of the refusal alone would do; as `testing.refusals`.

The world is that of `testing.desk`: one service that names a desk, and one workload that it trusts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from testing.desk import desk_token, desk_world, from_origin, granting
from testing.manifests import issuer, workload
from testing.tokens import kubernetes, token
from watchword.trust import Bundle

PATH = "/accounts/acme/usage"
CACHE = "/accounts/acme/cache"
PROJECT = "/accounts/acme/projects/ios"
READ = {"scopes": ["account:usage:read"], "accounts": ["acme"]}
PROJECTS = {"scopes": ["project:read"], "accounts": ["acme"], "projects": ["*"]}


def bundle(*objects: dict[str, Any]) -> Bundle:
    """The bundle of the world, with these objects in place of those of their kinds."""
    default = workload(grants=[READ, PROJECTS], purposes=["cache-read"])
    kinds = {each["kind"] for each in objects}
    others = [] if "TrustedWorkload" in kinds else [default]
    return desk_world(*objects, *others).bundles[0]


@dataclass(frozen=True)
class DeskCase:
    """A refusal that was provoked.

    Attributes:
        name: what is wrong, in a few words.
        reason: the code that must come.
        token: what is sent.
        path: of the request.
        tried: what a reader of the refusal did, in words.
        fixed: the token that is sent then; None: the same.
        objects: what an owner's objects are when it is refused; none: those of the world.
    """

    name: str
    reason: str
    token: bytes
    tried: str
    fixed: bytes | None = None
    path: str = PATH
    objects: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        return self.name


def desk_cases(now: float) -> list[DeskCase]:
    """Every case, with tokens as of `now` (seconds since the epoch)."""
    at = int(now)

    def of(**changes: Any) -> bytes:
        times = {"iat": at - 30, "exp": at + 300}
        return desk_token(**(times | from_origin(iat=at - 60) | changes))

    own = token(
        iat=at - 60, nbf=at - 60, exp=at + 600, **{"kubernetes.io": kubernetes()}, aud=["tuist-server"]
    )
    good, again = of(), "exchanged the pod's token again"
    another_pod = from_origin(iat=at - 60, pod="atlas-1", pod_uid="p-2")
    return [
        DeskCase("a desk token that ended", "expired", of(iat=at - 900, exp=at - 600), again, good),
        DeskCase("a changed signature", "bad_signature", good[:-8] + b"AAAAAAAA", again, good),
        DeskCase(
            "a token of an admin",
            "wrong_token_kind",
            of(watchword={"kind": "admin"}, sub="admin:ops", client_id="ops"),
            "sent the pod's own token",
            own,
        ),
        DeskCase("another audience", "wrong_audience", of(aud="watchword.dev/services/dev/a/b"), again, good),
        DeskCase(
            "an origin without a pod",
            "not_bound",
            of(**from_origin(iat=at - 60, pod="", pod_uid="")),
            "exchanged a pod's token",
            good,
        ),
        DeskCase(
            "a revoked pod",
            "revoked",
            good,
            "deleted the pod, and exchanged the token of the next one",
            of(**another_pod),
            objects=(issuer(revoked=[{"podUid": "p-1"}]),),
        ),
        DeskCase(
            "a key of the origin that is pinned no more",
            "origin_key_unknown",
            of(**from_origin(iat=at - 60, key="A" * 43)),
            again,
            good,
        ),
        DeskCase(
            "a purpose that was taken away",
            "wrong_purpose",
            of(purpose="cache-read"),
            "asked for a token without it",
            good,
            objects=(workload(grants=[READ, PROJECTS]),),
        ),
        DeskCase(
            "no purpose on a route of one",
            "wrong_purpose",
            good,
            "asked for the route's purpose",
            of(purpose="cache-read"),
            CACHE,
        ),
        DeskCase(
            "a request that the token does not allow",
            "not_in_token",
            good,
            "asked for the project too",
            of(**granting({"actions": ["project:read"], "accounts": ["acme"], "projects": ["ios"]})),
            PROJECT,
        ),
    ]
