# SPDX-License-Identifier: Apache-2.0
"""Fetches an issuer's public keys over HTTPS, with bounds on everything.

What comes back decides whom services believe, and where it is asked for was written by a person. So there is
no answer without an end, no way off the host, and no address that only this machine should reach.
"""

from ipaddress import IPv4Network, IPv6Network

import msgspec

from watchword.trust.specs.issuer import DiscoveryKeys


class AddressRules(msgspec.Struct, frozen=True):
    """Where keys may be fetched from.

    Attributes:
        allowed: networks that may be asked although they are loopback, link-local or the like.
    """

    allowed: tuple[IPv4Network | IPv6Network, ...] = ()


class FetchFailed(Exception):
    """No keys came, and why.

    Attributes:
        detail: what failed, without anything that the other side sent.
        remedy: what would be right.
        is_answer: whether there was an answer, which breaks a rule; else there was none.
        retry_after: seconds that the server asks us to wait, or None.
    """

    def __init__(
        self, detail: str, remedy: str, *, is_answer: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail, self.remedy = detail, remedy
        self.is_answer, self.retry_after = is_answer, retry_after


class NotChanged(msgspec.Struct, frozen=True):
    """The server says that the last answer still holds (RFC 9110, section 15.4.5)."""


class KeyFetcher:
    """Fetches one source's keys, again and again."""

    def __init__(self, *, issuer: str, source: DiscoveryKeys, addresses: AddressRules) -> None:
        self._issuer, self._source, self._addresses = issuer, source, addresses

    async def fetch(self, credential: str | None) -> bytes | NotChanged:
        """The JWKS as it is served now.

        Raises:
            FetchFailed: there is none that could be taken.
        """
        del credential
        raise FetchFailed("keys by discovery are not fetched yet", "use configMap or cluster meanwhile")
