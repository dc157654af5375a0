# SPDX-License-Identifier: Apache-2.0
"""Which addresses keys may be fetched from: pods, nodes and the internet, and nothing of this machine's own.

The writer of a URL in an object could otherwise have the operator call what only its machine can reach: a
cloud's metadata service, which hands out credentials, or a port on loopback. Private networks stay allowed:
that is where clusters live. An address is judged in every form that it can be written in.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

import msgspec

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# What clouds keep for a machine and its host, outside of the link-local networks.
_METADATA: Final[tuple[Network, ...]] = (
    IPv6Network("fd00:ec2::/32"),  # AWS: metadata, DNS, time, EKS pod identity
    IPv6Network("fd20:ce::/64"),  # Google Cloud
    IPv4Network("100.100.100.200/32"),  # Alibaba Cloud
    IPv4Network("168.63.129.16/32"),  # Azure's host
    IPv4Network("192.0.0.192/32"),  # Oracle Cloud
)
_THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")  # RFC 1122, section 3.2.1.3
_RESERVED: Final = IPv4Network("240.0.0.0/4")  # RFC 1112, section 4; holds the broadcast address
# IPv6 networks whose last 32 bits are an IPv4 address: RFC 6052, 8215, 2765, 4291 (2.5.5.1).
_EMBEDDING: Final = tuple(map(IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "::ffff:0:0:0/96", "::/96")))


class AddressRules(msgspec.Struct, frozen=True):
    """Where keys may be fetched from.

    Attributes:
        allowed: networks that may be asked although they are loopback, link-local or the like.
        is_public_only: refuse every address that is no one's on the internet: private networks, too.
    """

    allowed: tuple[Network, ...] = ()
    is_public_only: bool = False

    def refusal(self, text: str) -> str | None:
        """Why this address is not to be connected to, or None where it may be.

        Args:
            text: as the resolver gives it.
        """
        try:
            address = ip_address(text)
        except ValueError:
            return "not an address"
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            address = IPv6Address(int(address))
        for form in _forms(address):
            if any(form in network for network in self.allowed):
                continue
            if (kind := _kind(form)) is not None:
                return kind
            if self.is_public_only and not form.is_global:
                return "an address that is not on the internet"
        return None


NOT_THIS_MACHINE: Final = AddressRules()
ANYWHERE: Final = AddressRules((IPv4Network("0.0.0.0/0"), IPv6Network("::/0")))


def _forms(address: Address) -> Iterator[Address]:
    """The address, and each IPv4 address that a network on the way could make of it."""
    if isinstance(address, IPv4Address) or address in (IPv6Address("::"), IPv6Address("::1")):
        yield address
        return
    if address.ipv4_mapped is not None:
        # The kernel connects over IPv4: this is the address, and nothing else is.
        yield address.ipv4_mapped
        return
    yield address
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _EMBEDDING):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _kind(address: Address) -> str | None:
    if address.is_loopback:
        return "a loopback address"
    if address.is_link_local or (isinstance(address, IPv6Address) and address.is_site_local):
        return "a link-local address"
    if address.is_multicast:
        return "a multicast address"
    if address.is_unspecified or address in _THIS_NETWORK:
        return "no address of a host"
    if address in _RESERVED:
        return "a reserved address"
    if any(address in network for network in _METADATA):
        return "an address of a cloud's metadata service"
    return None
