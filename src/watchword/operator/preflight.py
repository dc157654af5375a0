# SPDX-License-Identifier: Apache-2.0
"""What must be there before work can begin: the kinds that are watched, and the right to list them.

An operator may start before its CRDs, in a chart's first install for one. It must wait and say so: one that
dies there looks broken, and one that waits in silence looks healthy.
"""

from typing import Final, NamedTuple

import aiohttp
import msgspec

from watchword.trust.specs import API_GROUP, API_VERSION

# Plural: path of its list. The watches of kopf, all of them cluster-wide.
WATCHED: Final = {
    "clustertrustedissuers": f"/apis/{API_VERSION}/clustertrustedissuers",
    "protectedservices": f"/apis/{API_VERSION}/protectedservices",
    "trustedworkloads": f"/apis/{API_VERSION}/trustedworkloads",
    "namespaces": "/api/v1/namespaces",
}
_TIMEOUT: Final = aiohttp.ClientTimeout(total=5)
_APPLY_CRDS: Final = "kubectl apply --server-side -f manifests/crds/"


class Obstacle(NamedTuple):
    """Why work cannot begin, and what would help. The operator waits for it."""

    detail: str
    remedy: str


async def find_obstacle(session: aiohttp.ClientSession, server: str) -> Obstacle | None:
    """The first reason why a watch could not start; None when all can."""
    missing = []
    for resource, path in WATCHED.items():
        try:
            async with session.get(
                f"{server}{path}", params={"limit": "1"}, timeout=_TIMEOUT, allow_redirects=False
            ) as answer:
                status, message = answer.status, _message(await answer.content.read(1 << 20))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Obstacle(
                f"the API server at {server} cannot be reached ({type(error).__name__})",
                "nothing, if it is restarting; else look at the network and its policies",
            )
        if status == 404:
            missing.append(f"{resource}.{API_GROUP}")
        elif status == 403:
            return Obstacle(
                f"the API server does not let this operator list {resource}: {message}",
                "apply the operator's ClusterRole and its binding (manifests/install/watchword.yaml)",
            )
        elif status == 401:
            return Obstacle(
                "the API server does not know this operator's credentials",
                "mount a ServiceAccount token, or mend the kubeconfig",
            )
        elif status != 200:
            return Obstacle(f"the API server answers {status} for {resource}: {message}", "look at its log")
    if missing:
        named = ", ".join(missing)
        return Obstacle(
            f"not served by this API server as {API_VERSION}: {named}",
            f"apply Watchword's CRDs ({_APPLY_CRDS}); the operator goes on by itself",
        )
    return None


def _message(body: bytes) -> str:
    try:
        return str(msgspec.json.decode(body)["message"])[:300]
    except (msgspec.MsgspecError, KeyError, TypeError):
        return "no message"
