# SPDX-License-Identifier: Apache-2.0
"""A gate on several addresses, and on all addresses of both families."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, bearer
from watchword.gate.protocol import plain_peer

ASK = b"GET /app/acme/x HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n" + bearer() + b"\r\n\r\n"


def ask(host: str, port: int) -> bytes:
    with socket.create_connection((host, port), 30) as link:
        link.sendall(ASK)
        return b"".join(iter(lambda: link.recv(65536), b""))


def bundle(folder: Path) -> Path:
    objects = (issuer(), service(routes=ROUTES), workload(grants=GRANTS))
    return write_bundle(folder / "bundle.json", *objects)


def test_each_address_that_is_given_answers(tmp_path: Path) -> None:
    with running_app() as app:
        flags = ("--upstream", app.url, "--listen", "127.0.0.2:0")
        with running_gate(bundle(tmp_path), *flags) as gate:
            addresses = gate.address.split(", ")
            assert [each.rpartition(":")[0] for each in addresses] == ["127.0.0.2", "127.0.0.1"]
            for each in addresses:
                host, _, port = each.rpartition(":")
                assert b" 200 " in ask(host, int(port))


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this system has no IPv6")
def test_all_addresses_are_those_of_both_families(tmp_path: Path) -> None:
    with running_app() as app:
        flags = ("--upstream", app.url, "--listen", "[::]:0")
        with running_gate(bundle(tmp_path), *flags) as gate:
            dual = next(each for each in gate.address.split(", ") if each.startswith("[::]:"))
            port = int(dual.rpartition(":")[2])
            for host in ("127.0.0.1", "::1"):
                assert b" 200 " in ask(host, port)
                # An IPv4 caller is known by its own address.
                assert app.seen[-1].values(b"x-forwarded-for") == [host.encode()]


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("::ffff:192.0.2.7", 1), ("192.0.2.7", 1)),
        (("2001:db8::1", 1), ("2001:db8::1", 1)),
        (("192.0.2.7", 1), ("192.0.2.7", 1)),
        (None, None),
    ],
)
def test_a_peer_is_named_by_its_own_address(
    peer: tuple[str, int] | None, expected: tuple[str, int] | None
) -> None:
    assert plain_peer(peer) == expected
