# SPDX-License-Identifier: Apache-2.0
"""An operator whose environment names a proxy leads all the same, and says so where it cannot.

Whatever `NO_PROXY` says: clients disagree on addresses, networks and `*` in it, so none of ours reads it.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from testing.controlplane import Cluster
from testing.operator_process import give_back_lease, kubeconfig_of, running_operator

VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


class Proxy:
    """A proxy that answers no one, and counts who came."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections = 0
        self._thread = Thread(target=self._count, daemon=True)
        self._thread.start()

    def _count(self) -> None:
        with suppress(OSError):
            while True:
                link, _ = self._listener.accept()
                self.connections += 1
                link.close()

    def close(self) -> None:
        """Take no one any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(30)


@pytest.fixture
def proxy() -> Iterator[Proxy]:
    made = Proxy()
    yield made
    made.close()


def named(proxy: Proxy, no_proxy: str | None) -> dict[str, str]:
    """An environment that names the proxy in every way."""
    exceptions = {} if no_proxy is None else {"NO_PROXY": no_proxy, "no_proxy": no_proxy}
    return dict.fromkeys(VARIABLES, proxy.url) | exceptions


@pytest.mark.parametrize("no_proxy", [None, "*", "127.0.0.0/8", " ,;["])
def test_it_leads_whatever_the_environment_says_and_the_proxy_is_never_asked(
    crd_cluster: Cluster, tmp_path: Path, proxy: Proxy, no_proxy: str | None
) -> None:
    give_back_lease(crd_cluster)
    flags = (crd_cluster.kubeconfig, tmp_path)
    with running_operator(*flags, environment=named(proxy, no_proxy)) as replica:
        replica.wait_until(replica.is_leading, "it leads", timeout_seconds=120)
        assert replica.stop() == 0
    assert proxy.connections == 0


def test_a_server_that_is_not_reached_has_a_remedy_that_names_the_variable(
    crd_cluster: Cluster, tmp_path: Path, proxy: Proxy, unused_port: int
) -> None:
    lost = kubeconfig_of(crd_cluster, tmp_path / "lost", server=f"https://127.0.0.1:{unused_port}")
    with running_operator(lost, tmp_path, environment=named(proxy, None)) as replica:
        replica.wait_until(
            lambda: "HTTPS_PROXY is set and never used" in str(replica.ready()),
            "/readyz names the variable",
            timeout_seconds=120,
        )
        # A proxy's URL may hold a password.
        assert proxy.url not in str(replica.ready())
        assert proxy.url not in replica.log.read_text()
    assert proxy.connections == 0
