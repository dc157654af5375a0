# SPDX-License-Identifier: Apache-2.0
"""Watches that are cut, that die without a word, or whose past is forgotten: between the API server and the
operator, and between it and the gate.

The proxy in between does it, so nobody is told. A test that ends well has shown that what happened meanwhile
was seen in the end, without a restart.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from testing.faults.standing import Onlooker, Standing
from testing.faults.tcpproxy import TcpProxy
from testing.operator_process import Replica

Fault = Callable[[TcpProxy], None]


def cut(proxy: TcpProxy) -> None:
    """All connections break, in the middle of whatever they carry; new ones work."""
    proxy.cut()


def cut_again_and_again(proxy: TcpProxy) -> None:
    """Each connection breaks after a few thousand bytes, for a while."""
    proxy.cut_after(5000)
    proxy.cut()


def swallow(proxy: TcpProxy) -> None:
    """The connections there are stay open, and nothing comes through any more; new ones work."""
    proxy.swallow()
    proxy.pass_through()


def delay(proxy: TcpProxy) -> None:
    """Each piece takes a tenth of a second longer, in both directions."""
    proxy.delay(0.1)


FAULTS = pytest.mark.parametrize(
    "fault", [cut, cut_again_and_again, swallow, delay], ids=lambda fault: fault.__name__
)


def edits_made_meanwhile_are_seen(installation: Standing, proxy: TcpProxy, fault: Fault) -> None:
    leaving_name, leaving = installation.newcomer()
    _, staying = installation.newcomer()
    for token in (leaving, staying):
        installation.wait_until_in(token)
    _, stranger = installation.account()
    with Onlooker(installation.gate, trusted=(staying,), strangers=(stranger,)) as onlooker:
        fault(proxy)
        try:
            # One more and one less while it lasts; no event of these can have come the usual way.
            coming_name, coming = installation.newcomer()
            installation.distrust(leaving_name)
            if fault is not delay:
                pass_after(proxy, fault)
            installation.wait_until_in(coming)
            installation.wait_until_out(leaving)
        finally:
            proxy.pass_through()
        installation.check_that_edits_count()
    assert onlooker.wrong == []
    installation.distrust(coming_name)


def pass_after(proxy: TcpProxy, fault: Fault) -> None:
    if fault is cut_again_and_again:
        proxy.pass_through()
        proxy.cut()


@FAULTS
def test_the_operator_sees_what_happened_while_its_watches_were_broken(
    installation: Standing, fault: Fault
) -> None:
    edits_made_meanwhile_are_seen(installation, installation.proxy, fault)


@FAULTS
def test_the_gate_sees_what_happened_while_its_watch_was_broken(installation: Standing, fault: Fault) -> None:
    edits_made_meanwhile_are_seen(installation, installation.gate_proxy, fault)


def test_a_past_that_the_api_server_has_forgotten_is_read_anew_and_vanished_objects_are_missed(
    installation: Standing,
) -> None:
    """410 Gone: while the operator cannot reach the API server, one is dropped, one is trusted, and etcd is
    compacted, so that no watch can go on from where it was."""
    leaving_name, leaving = installation.newcomer()
    installation.wait_until_in(leaving)
    for proxy in (installation.proxy, installation.gate_proxy):
        proxy.refuse()
        proxy.cut()
    try:
        _, coming = installation.newcomer()
        installation.distrust(leaving_name)
        installation.cluster.etcd.compact()
        # The API server remembers a while of its own; it must not be asked.
        installation.cluster.program.kill()
        installation.cluster.program.start()
        assert installation.is_in(leaving), "the gate cannot know yet"
    finally:
        for proxy in (installation.proxy, installation.gate_proxy):
            proxy.pass_through()
    installation.wait_until_in(coming)
    installation.wait_until_out(leaving)
    installation.check_that_edits_count()


def test_an_operator_cut_off_while_its_bundle_is_deleted_and_all_trust_is_gone_puts_it_right(
    installation: Standing, leader: Replica
) -> None:
    assert leader.is_running
    name, token = installation.newcomer()
    installation.wait_until_in(token)
    generation, _ = installation.bundle()
    installation.proxy.refuse()
    installation.proxy.cut()
    try:
        installation.distrust(name)
        installation.cluster.request(
            "DELETE", "/api/v1/namespaces/tuist/configmaps/watchword-bundle-tuist-server"
        )
    finally:
        installation.proxy.pass_through()
    installation.wait_until_out(token)
    assert installation.bundle()[0] > generation
    installation.check_that_edits_count()
