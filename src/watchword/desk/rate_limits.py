# SPDX-License-Identifier: Apache-2.0
"""Token buckets: a steady rate with a burst on top, for as many callers as there is room to remember.

By address first, before anything is read; by subject only for what is proven, or a stranger could use up
someone else's rate. Callers that rest are forgotten first.
"""

import functools
import ipaddress
import math
from collections import OrderedDict
from typing import Final

MAX_REMEMBERED: Final = 20_000


class Buckets:
    """One bucket for each key. Time is passed in."""

    def __init__(self, per_second: float, burst: int, *, remembered: int = MAX_REMEMBERED) -> None:
        """Allow `per_second` in the long run and `burst` at once; 0 per second: no limit."""
        self._rate, self._burst, self._remembered = per_second, float(burst), remembered
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, key: str, now: float) -> int:
        """Count one request.

        Args:
            key: whose.
            now: seconds on a clock that never goes back.

        Returns:
            0 when it may pass; else the whole seconds to wait.
        """
        if self._rate <= 0:
            return 0
        level, then = self._buckets.pop(key, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        may_pass = level >= 1.0
        self._buckets[key] = (level - 1.0 if may_pass else level, now)
        if len(self._buckets) > self._remembered:
            self._buckets.popitem(last=False)
        return 0 if may_pass else max(1, math.ceil((1.0 - level) / self._rate))


@functools.lru_cache(maxsize=4096)
def address_key(address: str) -> str:
    """Whose bucket an address is counted in: of IPv6, the network of 64 bits, which one caller has whole."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address[:64]
    if isinstance(found, ipaddress.IPv6Address):
        mapped = found.ipv4_mapped
        if mapped is not None:
            return str(mapped)
        return str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
    return str(found)


def peer_address(client: str, forwarded_for: list[bytes], trusted_proxies: int) -> str:
    """The caller's address, as far as the configured proxies vouch for it.

    Args:
        client: the address that the connection comes from.
        forwarded_for: the values of all X-Forwarded-For headers, in order.
        trusted_proxies: how many proxies stand before the desk; 0: the header is not looked at.

    Returns:
        The address that the outermost of these proxies saw; where the header has fewer entries, or no address
        there, the connection's.
    """
    if trusted_proxies <= 0:
        return client
    entries = [each.strip() for value in forwarded_for for each in value.decode("latin-1").split(",")]
    if len(entries) < trusted_proxies:
        return client
    try:
        return str(ipaddress.ip_address(entries[-trusted_proxies]))
    except ValueError:
        return client
