# SPDX-License-Identifier: Apache-2.0
"""Who stands in the API server's place without its certificate hears neither the token nor a question."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from pathlib import Path

import pytest

from testing.controlplane.certificates import Authority, new_authority
from tests.kube.following import itself
from watchword.kube.watch import Backoff, Endpoint, PartialObject, Resource, Troubled, Watch

SECRET = "the-secret"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return new_authority(tmp_path)


def heard_by_an_impostor(files: tuple[Path, Path], host: str, ca_file: Path) -> tuple[Troubled, bytes]:
    """What a watch says of a server with these files, and what that server hears of the watch."""

    async def main() -> tuple[Troubled, bytes]:
        heard = bytearray()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(OSError):
                heard.extend(await reader.read())
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*files)
        server = await asyncio.start_server(serve, host, 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        endpoint = Endpoint(f"https://{host}:{port}", ca_file=str(ca_file), token=SECRET)
        watch = Watch(endpoint, Resource(plural="pods"), PartialObject, itself, backoff=Backoff(0.001, 0.002))
        async with asyncio.timeout(30), contextlib.aclosing(watch.events()) as events:
            event = await anext(events)
        assert isinstance(event, Troubled)
        server.close()
        await asyncio.sleep(0.05)
        return event, bytes(heard)

    return asyncio.run(main())


def test_another_authoritys_certificate_for_the_right_name(authority: Authority, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = new_authority(tmp_path / "other")
    impostor = other.write("impostor", "kube-apiserver", names=["127.0.0.1"])
    files = (impostor.certificate, impostor.private_key)
    told, heard = heard_by_an_impostor(files, "127.0.0.1", authority.path)
    assert (told.problem.kind, heard) == ("untrusted", b"")
    assert "not trusted" in told.problem.detail


def test_the_right_authoritys_certificate_for_another_name(authority: Authority) -> None:
    other = authority.write("other", "another-server", names=["another.example", "127.0.0.9"])
    files = (other.certificate, other.private_key)
    told, heard = heard_by_an_impostor(files, "127.0.0.1", authority.path)
    assert (told.problem.kind, heard) == ("untrusted", b"")
    assert "127.0.0.1" in told.problem.detail


def test_the_right_certificate_is_asked(authority: Authority) -> None:
    # The same server and the same watch: what the other tests do not hear is not only the test's fault.
    right = authority.write("right", "kube-apiserver", names=["127.0.0.1"])

    async def main() -> bytes:
        heard = asyncio.get_running_loop().create_future()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            head = await reader.readuntil(b"\r\n\r\n")
            if not heard.done():
                heard.set_result(head)
            writer.close()

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(right.certificate, right.private_key)
        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        endpoint = Endpoint(url, ca_file=str(authority.path), token=SECRET)
        watch = Watch(endpoint, Resource(plural="pods"), PartialObject, itself)
        events = watch.events()
        asking = asyncio.create_task(anext(events))  # type: ignore[arg-type]  # an awaitable is enough for it
        async with asyncio.timeout(30):
            found = await heard
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        server.close()
        await asyncio.sleep(0.05)
        return bytes(found)

    assert b"Authorization: Bearer the-secret\r\n" in asyncio.run(main())
