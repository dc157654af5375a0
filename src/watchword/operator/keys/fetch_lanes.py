# SPDX-License-Identifier: Apache-2.0
"""Fetches one issuer's keys, so that whatever happens ends in time, and as bytes or a reason.

Issuers that failed wait in a lane of their own: a hundred that hang must not keep the healthy ones waiting.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from watchword.operator.keys.addresses import AddressRules
from watchword.operator.keys.credentials import CredentialSecret, credential_for
from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.fetch import KeyFetcher
from watchword.process.logs import LOGGER
from watchword.trust.api.v1alpha1 import ClusterTrustedIssuer
from watchword.trust.api.v1alpha1.issuer import ClusterKeys, DiscoveryKeys, SecretKey

# Fetches at a time in each lane; one costs a connection and about 100 KiB.
LANE_WIDTH: Final = 48
# What the API server of this cluster may take; its client has deadlines of its own, and none is for ever.
OWN_CLUSTER_SECONDS: Final = 20.0

ReadSecret = Callable[[SecretKey], Awaitable[CredentialSecret]]
FetchOwnCluster = Callable[[], Awaitable[bytes]]


class FetchLanes:
    """Fetches keys, so many at a time.

    Args:
        read_secret: reads one entry of one Secret; raises when it cannot.
        fetch_own_cluster: the JWKS of the cluster that this runs in; raises when it cannot.
        addresses: where keys may be fetched from.
    """

    def __init__(
        self, read_secret: ReadSecret, fetch_own_cluster: FetchOwnCluster, addresses: AddressRules
    ) -> None:
        self._read_secret, self._fetch_own_cluster = read_secret, fetch_own_cluster
        self._addresses = addresses
        self._lanes = asyncio.Semaphore(LANE_WIDTH), asyncio.Semaphore(LANE_WIDTH)

    def fetcher(self, issuer: str, source: DiscoveryKeys) -> KeyFetcher:
        """A fetcher for one source; it remembers what it got last."""
        return KeyFetcher(issuer=issuer, source=source, addresses=self._addresses)

    async def ask(
        self,
        issuer: ClusterTrustedIssuer,
        source: DiscoveryKeys | ClusterKeys,
        fetcher: KeyFetcher | None,
        *,
        has_failed: bool,
    ) -> bytes:
        """The JWKS as it is served now.

        Args:
            issuer: whose keys they are.
            source: where they are.
            fetcher: of that source; None for this cluster.
            has_failed: whether this issuer failed last time.

        Raises:
            FetchError: there is none that could be taken; nothing else is ever raised.
        """
        async with self._lanes[has_failed]:
            try:
                if isinstance(source, ClusterKeys) or fetcher is None:
                    return await self._own_keys()
                return await fetcher.fetch(await self._credential(issuer, source))
            except FetchError:
                raise
            except Exception as error:
                LOGGER.exception("a fetch of keys failed in an unforeseen way")
                detail = f"an unforeseen {type(error).__name__} while fetching"
                raise FetchError(detail, "this is a defect of watchword; please report it") from error

    async def _own_keys(self) -> bytes:
        try:
            async with asyncio.timeout(OWN_CLUSTER_SECONDS):
                return await self._fetch_own_cluster()
        except Exception as error:
            detail = f"this cluster's own API server gave no keys ({type(error).__name__})"
            raise FetchError(detail, "see that the operator may read /openid/v1/jwks") from error

    async def _credential(self, issuer: ClusterTrustedIssuer, source: DiscoveryKeys) -> str | None:
        reference = source.credential_secret_ref
        if reference is None:
            return None
        try:
            async with asyncio.timeout(OWN_CLUSTER_SECONDS):
                secret = await self._read_secret(reference)
        except Exception as error:
            place = f"{reference.namespace}/{reference.name}"
            detail = f"the Secret {place} with the credential cannot be read ({type(error).__name__})"
            remedy = f"create it with the entry {reference.key}, and let the operator read it"
            raise FetchError(detail, remedy) from error
        return credential_for(secret, issuer.metadata.name, issuer.spec.issuer, source)
