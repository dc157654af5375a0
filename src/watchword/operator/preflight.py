# SPDX-License-Identifier: Apache-2.0
"""What must be there before work can begin: the kinds that are watched, and the right to list them.

An operator may start before its CRDs, in a chart's first install for one. It must wait and say so: one that
dies there looks broken, and one that waits in silence looks healthy.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

import aiohttp
import msgspec

from watchword.operator import schema
from watchword.trust.specs import API_VERSION

# Plural: path of its list. The watches of kopf, all of them cluster-wide.
WATCHED: Final = {
    "clustertrustedissuers": f"/apis/{API_VERSION}/clustertrustedissuers",
    "protectedservices": f"/apis/{API_VERSION}/protectedservices",
    "trustedworkloads": f"/apis/{API_VERSION}/trustedworkloads",
    "namespaces": "/api/v1/namespaces",
}
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_APPLY_CRDS: Final = (
    "apply the CRDs of this release (`kubectl apply --server-side -f manifests/crds/`); "
    "the operator goes on by itself"
)


class Obstacle(NamedTuple):
    """Why work cannot begin, and what would help. The operator waits for it."""

    detail: str
    remedy: str


class Preflight(NamedTuple):
    """What was found.

    Attributes:
        obstacle: the first reason why work cannot begin; None: it can.
        warnings: what does not stand in the way, and should be put right.
        generations: the generation of each CRD that this was found by.
    """

    obstacle: Obstacle | None
    warnings: tuple[Obstacle, ...] = ()
    generations: Mapping[str, int] = {}


async def look(session: aiohttp.ClientSession, server: str) -> Preflight:
    """See whether the kinds are served, as this release knows them, and may be watched."""
    try:
        warnings, generations = await _look_at_schemas(session, server)
        for resource, path in WATCHED.items():
            status, body = await _get(session, f"{server}{path}", {"limit": "1"})
            if status == 404:
                raise _Stands(Obstacle(f"not served by this API server: {resource}", _APPLY_CRDS))
            _expect(status, body, f"list {resource}")
    except _Stands as stands:
        return Preflight(stands.obstacle)
    return Preflight(None, warnings, generations)


class _Stands(Exception):
    def __init__(self, obstacle: Obstacle) -> None:
        super().__init__(obstacle.detail)
        self.obstacle = obstacle


async def _look_at_schemas(
    session: aiohttp.ClientSession, server: str
) -> tuple[tuple[Obstacle, ...], dict[str, int]]:
    missing, warnings, generations = [], [], {}
    for name in schema.NAMES:
        status, body = await _get(session, f"{server}{schema.path_of(name)}", {})
        if status == 404:
            missing.append(name)
            continue
        _expect(status, body, f"get the CRD {name}")
        found = msgspec.json.decode(body)
        generations[name] = int(found["metadata"]["generation"])
        older, newer = schema.difference(found)
        if older is not None:
            detail = f"the CRD {name} is older than this operator: it lacks {older}"
            warnings.append(Obstacle(detail, _APPLY_CRDS))
        if newer is not None:
            detail = f"the CRD {name} is newer than this operator: it has {newer}"
            warnings.append(Obstacle(detail, "upgrade the operator; what it cannot read trusts nobody new"))
    if missing:
        raise _Stands(Obstacle(f"not in this cluster: {', '.join(missing)}", _APPLY_CRDS))
    return tuple(warnings), generations


async def _get(session: aiohttp.ClientSession, url: str, parameters: dict[str, str]) -> tuple[int, bytes]:
    try:
        async with session.get(url, params=parameters, timeout=_TIMEOUT, allow_redirects=False) as answer:
            return answer.status, await answer.read()
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _Stands(
            Obstacle(
                f"the API server cannot be reached ({type(error).__name__})",
                "nothing, if it is restarting; else look at the network and its policies",
            )
        ) from None


def _expect(status: int, body: bytes, what: str) -> None:
    if status == 401:
        detail = "the API server does not know this operator's credentials"
        raise _Stands(Obstacle(detail, "mount a ServiceAccount token, or mend the kubeconfig"))
    if status == 403:
        detail = f"the API server does not let this operator {what}: {_message(body)}"
        remedy = "apply the operator's ClusterRole and its binding (manifests/install/watchword.yaml)"
        raise _Stands(Obstacle(detail, remedy))
    if status != 200:
        detail = f"the API server answers {status} when asked to {what}: {_message(body)}"
        raise _Stands(Obstacle(detail, "look at the API server's log"))


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])[:300]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return "no message"
