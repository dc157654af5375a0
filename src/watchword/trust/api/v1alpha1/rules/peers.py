# SPDX-License-Identifier: Apache-2.0
"""What the NetworkPolicy API would refuse in a peer, or what would let in more than was meant.

An empty peer lets everyone in. A network with host bits, or an exception that is as large as its network, is
refused by the API server only when the policy is written: long after its author has gone home.
"""

import ipaddress
from collections.abc import Iterator

from watchword.trust.api.v1alpha1 import IpBlock, Peer
from watchword.trust.api.v1alpha1.grammar import NETWORK, is_whole
from watchword.trust.api.v1alpha1.rules.entries import findings_of_labels
from watchword.trust.api.v1alpha1.validation import Finding

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def findings_of_peers(path: str, peers: tuple[Peer, ...]) -> Iterator[Finding]:
    """What is wrong with the peers of one list.

    Args:
        path: the list's own path, such as `spec.from`.
        peers: its entries.
    """
    for place, peer in enumerate(peers):
        where = f"{path}[{place}]"
        selectors = (("namespaceSelector", peer.namespace_selector), ("podSelector", peer.pod_selector))
        for field, selector in selectors:
            if selector is not None:
                yield from findings_of_labels(f"{where}.{field}", selector)
        has_selector = any(selector is not None for _, selector in selectors)
        if peer.ip_block is None:
            if not has_selector:
                yield where, "the peer is empty", "give ipBlock, or namespaceSelector and podSelector"
            continue
        if has_selector:
            yield where, "ipBlock is given together with selectors", "use one or the other"
        yield from _findings_of_block(f"{where}.ipBlock", peer.ip_block)


def _findings_of_block(path: str, block: IpBlock) -> Iterator[Finding]:
    network = _network(block.cidr)
    inner = [_network(each) for each in block.except_]
    if network is None or None in inner:
        detail = "not a CIDR, or one with host bits set"
        yield path, detail, "use a network such as 10.20.0.0/16"
    elif not all(_is_within(each, network) for each in inner):
        yield f"{path}.except", "not inside cidr", "list networks within cidr, and smaller than it, only"


def _network(text: str) -> Network | None:
    if not is_whole(NETWORK, text):
        return None
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    # An IPv4 address in IPv6 dress: the API server refuses it, since no one agrees on what it means.
    is_mapped = isinstance(network, ipaddress.IPv6Network) and network.network_address.ipv4_mapped is not None
    return None if is_mapped else network


def _is_within(inner: Network | None, outer: Network) -> bool:
    if isinstance(inner, ipaddress.IPv4Network) and isinstance(outer, ipaddress.IPv4Network):
        return inner.subnet_of(outer) and inner != outer
    if isinstance(inner, ipaddress.IPv6Network) and isinstance(outer, ipaddress.IPv6Network):
        return inner.subnet_of(outer) and inner != outer
    return False
