# SPDX-License-Identifier: Apache-2.0
"""A gate on several addresses, and on all addresses of both families."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from testing.gate_process import running_gate, write_bundle
from testing.manifests import issuer, service, workload
from tests.gate.proxy.app import running_app
from tests.gate.proxy.conftest import GRANTS, ROUTES, bearer
from watchword.gate.protocol import plain_peer
from watchword.gate.settings import GateSettings
from watchword.process.listening import CannotStartError, has_loopback_ipv6, listen_on, listen_on_each

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


# A network of one's own, in which the kernel gives no interface an IPv6 address.
_SET_UP = 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 && ip link set lo up && exec "$@"'
_NO_IPV6 = ("unshare", "--net", "sh", "-c", _SET_UP, "sh")
_PROGRAM = """
import socket, sys
from watchword.process.listening import CannotStartError, address_of, listen_on_each
if sys.argv[1] == "no-family":
    # As with `ipv6.disable=1` on the kernel's command line, which no test can boot.
    real = socket.socket
    class Without(real):
        def __init__(self, family=socket.AF_INET, *more, **named):
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *more, **named)
    socket.socket = Without
try:
    print(*(address_of(each).rpartition(":")[0] for each in listen_on_each("--listen", sys.argv[2:])))
except CannotStartError as problem:
    print(problem)
"""


def listen(*arguments: str, enter: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*enter, sys.executable, "-c", _PROGRAM, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_the_default_is_loopback_of_both_families() -> None:
    expected = ["127.0.0.1", *(["[::1]"] if has_loopback_ipv6() else [])]
    hosts = [each.rpartition(":")[0] for each in GateSettings().listen]
    assert hosts == ["127.0.0.1", "[::1]"]
    assert listen("any", *(f"{host}:0" for host in hosts)).split() == expected


def test_a_system_without_the_family_listens_on_ipv4() -> None:
    assert listen("no-family", "127.0.0.1:0", "[::1]:0") == "127.0.0.1"
    assert listen("no-family", "[::]:0") == "0.0.0.0"
    # What was asked for alone is not there.
    assert "cannot listen on [::1]:0" in listen("no-family", "[::1]:0")
    assert "cannot listen on [2001:db8::1]:0" in listen("no-family", "127.0.0.1:0", "[2001:db8::1]:0")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a network of its own")
def test_a_system_whose_interfaces_have_no_ipv6_listens_on_ipv4() -> None:
    assert listen("any", "127.0.0.1:0", "[::1]:0", enter=_NO_IPV6) == "127.0.0.1"
    assert listen("any", "[::]:0", enter=_NO_IPV6) == "[::]"
    assert "cannot listen on [::1]:0" in listen("any", "[::1]:0", enter=_NO_IPV6)


def test_one_address_that_is_taken_is_named_and_nothing_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        port, other = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        with pytest.raises(CannotStartError) as caught:
            listen_on_each("--listen", [f"127.0.0.1:{other}", f"127.0.0.1:{port}"])
        assert f"--listen: cannot listen on 127.0.0.1:{port}" in str(caught.value)
        assert "Remedy:" in str(caught.value)
        # The first one was closed again.
        listen_on("--listen", f"127.0.0.1:{other}").close()
