# SPDX-License-Identifier: Apache-2.0
"""Where a control plane runs: on this machine's loopback, or in a network namespace made for it.

A server in a namespace of its own is reached through a port of ours that leads there; the tests then need not
know where it runs, and two control planes never meet on one port.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from testing.controlplane.process import reserved_port


class Place(Protocol):
    """A network to run servers in."""

    @property
    def enter(self) -> Sequence[str]:
        """The command that starts another command there; empty for here."""

    @property
    def address(self) -> str:
        """The address that servers there are known by to each other."""

    def port(self) -> AbstractContextManager[tuple[int, int]]:
        """A port that is free there, and the loopback port here under which it is reached."""


class _Here:
    enter: Sequence[str] = ()
    address = "127.0.0.1"

    @contextmanager
    def port(self) -> Iterator[tuple[int, int]]:
        with reserved_port() as port:
            yield port, port


HERE: Place = _Here()
