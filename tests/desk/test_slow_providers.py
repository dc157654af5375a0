# SPDX-License-Identifier: Apache-2.0
"""A provider of people that is slow keeps no one waiting but its own people, and them not for long."""

from __future__ import annotations

import asyncio
import http.server
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from testing.openid import Issuer, openid_issuer
from testing.running_desk import Source, default_objects, person_object, running_desk
from testing.tokens import Signer
from watchword.desk.admin.tickets import nonce_of
from watchword.desk.agents.oidc_http import ProviderError, Providers
from watchword.desk.agents.provider_fetches import AT_ONCE, MAX_WAITING, ProviderFetches

CAROL = "carol@corp.example"


class SlowIssuer(Issuer):
    """Holds each answer below `held` until `free` is set, or trickles it; counts who is asked at once."""

    def __init__(self) -> None:
        super().__init__()
        self.free, self.came = threading.Event(), threading.Event()
        self.held: tuple[str, ...] = ()
        self.at_once = self.most = 0
        self._counting = threading.Lock()

    def document(self, path: str) -> dict[str, Any]:
        """What is at a path, once it is free."""
        with self._counting:
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.came.set()
        if path.startswith(self.held or ("/none",)):
            self.free.wait(60)
        with self._counting:
            self.at_once -= 1
        return super().document(path)


@pytest.fixture
def slow() -> Iterator[SlowIssuer]:
    made = SlowIssuer()
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.free.set()
    made.server.shutdown()
    thread.join()
    made.server.server_close()


class Trickle(http.server.BaseHTTPRequestHandler):
    """A good answer, byte by byte, with what is before the body so or not."""

    where = "body"

    def do_GET(self) -> None:
        port = self.server.server_address[1]
        url = f"http://127.0.0.1:{port}"
        names = ("issuer", "authorization_endpoint", "token_endpoint", "jwks_uri")
        body = json.dumps(dict.fromkeys(names, url)).encode()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        at_once, slowly = (head, body) if self.where == "body" else (b"", head + body)
        self.close_connection = True
        try:
            self.wfile.write(at_once)
            for each in slowly:
                self.wfile.write(bytes([each]))
                self.wfile.flush()
                time.sleep(0.01)
        except OSError:
            return

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_trickle_ends_with_the_deadline(where: str) -> None:
    handler = type("Handler", (Trickle,), {"where": where})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            with pytest.raises(ProviderError, match="in time"):
                Providers(deadline_seconds=0.3).endpoints(url)
            assert Providers(deadline_seconds=60).endpoints(url).token == url
        finally:
            server.shutdown()
            thread.join()


def test_what_is_known_is_answered_while_the_provider_hangs(slow: SlowIssuer) -> None:
    async def ask() -> None:
        providers = Providers()
        fetches = ProviderFetches(providers, deadline_seconds=30)
        assert [each.kid for each in await fetches.keys(slow.url, "idp-1")] == ["idp-1"]
        slow.held = ("/",)
        providers._known[slow.url].keys_at -= 31
        slow.came.clear()
        unknown = [asyncio.create_task(fetches.keys(slow.url, f"made-up-{number}")) for number in range(8)]
        await asyncio.to_thread(slow.came.wait)
        assert [each.kid for each in await fetches.keys(slow.url, "idp-1")] == ["idp-1"]
        assert (await fetches.endpoints(slow.url)).token == f"{slow.url}/token"
        assert not any(each.done() for each in unknown)
        slow.free.set()
        assert await asyncio.gather(*unknown) == [()] * 8

    asyncio.run(ask())
    assert Counter(slow.asked) == {"/.well-known/openid-configuration": 1, "/jwks": 2}


def test_one_fetch_serves_all_who_wait_and_none_of_them_another_provider(slow: SlowIssuer) -> None:
    async def ask() -> None:
        fetches = ProviderFetches(deadline_seconds=30)
        slow.held = ("/",)
        waiting = [asyncio.create_task(fetches.keys(slow.url, "idp-1")) for _ in range(MAX_WAITING)]
        await asyncio.to_thread(slow.came.wait)
        with pytest.raises(ProviderError, match="too many"):
            await fetches.endpoints(slow.url)
        with openid_issuer() as other:
            assert len(await fetches.keys(other.url, None)) == 1
        assert not any(each.done() for each in waiting)
        slow.free.set()
        assert {len(each) for each in await asyncio.gather(*waiting)} == {1}

    asyncio.run(ask())
    assert Counter(slow.asked) == {"/.well-known/openid-configuration": 1, "/jwks": 1}


def test_codes_are_exchanged_a_few_at_once() -> None:
    held, began, free = [], threading.Semaphore(0), threading.Event()

    class Held(Providers):
        def exchange(self, issuer: str, *given: Any) -> str | None:
            held.append(issuer)
            began.release()
            free.wait(60)
            return super().exchange(issuer, *given)

    async def ask() -> None:
        fetches = ProviderFetches(Held(), deadline_seconds=30)
        with openid_issuer() as idp:
            await fetches.endpoints(idp.url)
            form = {"code": "x", "client_id": "c"}
            waiting = [asyncio.create_task(fetches.exchange(idp.url, form)) for _ in range(8)]
            for _ in range(AT_ONCE):
                await asyncio.to_thread(began.acquire)
            assert len(held) == AT_ONCE
            free.set()
            assert await asyncio.gather(*waiting) == [None] * 8

    asyncio.run(ask())


def test_who_waits_too_long_is_told_so_and_the_provider_has_a_rest(slow: SlowIssuer) -> None:
    async def ask() -> None:
        fetches = ProviderFetches(deadline_seconds=0.2)
        slow.held = ("/",)
        waiting = [asyncio.create_task(fetches.keys(slow.url, "idp-1")) for _ in range(4)]
        for each in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(each, ProviderError)
        for what in (fetches.endpoints(slow.url), fetches.keys(slow.url, None)):
            with pytest.raises(ProviderError, match="a moment ago"):
                await what

    asyncio.run(ask())
    assert len(slow.asked) == 1


def test_forged_sign_ins_at_a_provider_that_hangs_keep_no_admin_from_another(slow: SlowIssuer) -> None:
    slow.held = ("/",)
    source = Source()
    with openid_issuer() as good:
        source.objects = default_objects()
        source.objects += [
            person_object(f"p{number}", each.url, CAROL) for number, each in enumerate((good, slow))
        ]
        with running_desk(source, admin_listen="127.0.0.1:0") as desk, ThreadPoolExecutor(8) as threads:

            def forged() -> httpx.Response:
                ticket = desk.begin_sign_in()["ticket"]
                return desk.sign_in(slow.id_token(nonce_of(ticket), Signer("zz", "ES256")), ticket)

            waiting = [threads.submit(forged) for _ in range(8)]
            slow.came.wait()
            ticket = desk.begin_sign_in()["ticket"]
            answer = desk.sign_in(good.id_token(nonce_of(ticket)), ticket)
            assert answer.status_code == 200, answer.text
            assert not any(each.done() for each in waiting)
            slow.free.set()
            assert {each.result().json()["reason"] for each in waiting} == {"sign_in_refused"}
    assert slow.most <= AT_ONCE
