# SPDX-License-Identifier: Apache-2.0
"""What a desk in a cluster reads and writes by itself: its one ConfigMap, and other answers than that."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.server import Answer, LoopbackServer, serve
from watchword.desk.cluster import ClusterDesk
from watchword.desk.published import Mark, PublishingError, encode_mark
from watchword.kube.watch.endpoint import Endpoint
from watchword.trust.desk_objects import written_name

MARK = Mark("store", f"3:{'a' * 64}")
TOKEN = "a.service-account.token"
JSON = {"content-type": "application/json"}


@pytest.fixture(name="server")
def _server() -> Iterator[LoopbackServer]:
    with serve() as server:
        yield server


def desk(url: str, token_file: str | None = None) -> ClusterDesk:
    given = {"token": TOKEN} if token_file is None else {"token_file": token_file}
    return ClusterDesk(Endpoint(url, **given), "desks", "main")


def test_the_mark_is_read_and_written_with_the_desks_own_token(server: LoopbackServer) -> None:
    data = {"store.json": encode_mark(MARK).decode()}
    server.answers = lambda _: Answer(200, JSON, json.dumps({"data": data}).encode())
    assert asyncio.run(desk(server.url).read()) == MARK
    asyncio.run(desk(server.url).write(MARK, b"{}"))
    assert [each.method for each in server.received] == ["GET", "PATCH"]
    assert json.loads(server.received[1].body)["data"] == data | {"revocations.json": "{}"}
    path = f"/api/v1/namespaces/desks/configmaps/{written_name('main')}"
    assert {each.path for each in server.received} == {path}
    assert set(server.authorizations) == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(403, JSON, b"{}"), "answers 403"),
        (Answer(200, JSON, b"<html>"), "cannot be asked"),
        (Answer(200, JSON, b"x" * (17 * 1024 * 1024)), "an answer of more than 16777216 bytes"),
    ],
)
def test_any_other_answer_is_said_without_the_token(
    server: LoopbackServer, answer: Answer, said: str
) -> None:
    server.answers = lambda _: answer
    with pytest.raises(PublishingError, match=said) as failed:
        asyncio.run(desk(server.url).read())
    assert TOKEN not in str(failed.value)


def test_no_redirect_is_followed_with_the_token(server: LoopbackServer) -> None:
    server.answers = lambda _: Answer(307, {"location": f"{server.url}/elsewhere"}, b"")
    with pytest.raises(PublishingError, match="answers 307"):
        asyncio.run(desk(server.url).write(MARK, b"{}"))
    assert len(server.received) == 1


def test_a_server_or_a_token_that_is_away_is_said(tmp_path: Path) -> None:
    with pytest.raises(PublishingError, match="cannot be asked"):
        asyncio.run(desk("http://127.0.0.1:9").read())
    with pytest.raises(PublishingError, match=r"the token file .* cannot be read"):
        asyncio.run(desk("http://127.0.0.1:9", str(tmp_path / "none")).read())
