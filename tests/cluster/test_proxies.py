# SPDX-License-Identifier: Apache-2.0
"""No client of the API server asks a proxy that the environment names; keys: tests/operator/keys."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from testing.controlplane import Cluster
from watchword.kube.kubeconfig import connect
from watchword.kube.proxies import proxy_variable, with_proxy_remedy
from watchword.process.listening import CannotStartError

VARIABLES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[socket.socket, str]]:
    """A proxy that says nothing, and no word of one in the environment yet."""
    for name in (*VARIABLES, "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        yield listener, f"http://user:secret@127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("variable", VARIABLES)
@pytest.mark.parametrize("exceptions", [None, "", "127.0.0.1", "10.0.0.0/8,.svc", "*", "localhost"])
def test_each_client_reaches_the_api_server_directly_whatever_no_proxy_says(
    cluster: Cluster,
    proxy: tuple[socket.socket, str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    exceptions: str | None,
) -> None:
    monkeypatch.setenv(variable, proxy[1])
    if exceptions is not None:
        monkeypatch.setenv("NO_PROXY", exceptions)
    connection = connect(str(cluster.kubeconfig))

    async def version() -> str:
        async with connection.session() as session, session.get(f"{connection.server}/version") as answer:
            return str((await answer.json())["gitVersion"])

    assert asyncio.run(version()).startswith("v1.")
    with pytest.raises(BlockingIOError):
        proxy[0].accept()


def test_a_proxy_of_the_kubeconfig_is_refused_with_what_would_be_right(
    cluster: Cluster, tmp_path: Path
) -> None:
    content = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    content["clusters"][0]["cluster"]["proxy-url"] = "http://user:secret@127.0.0.1:3128"
    (tmp_path / "config").write_text(json.dumps(content))
    with pytest.raises(CannotStartError, match="Remedy: use an address") as refused:
        connect(str(tmp_path / "config"))
    assert "secret" not in str(refused.value)


def test_a_remedy_names_the_variable_and_never_what_it_holds() -> None:
    assert proxy_variable({"HTTPS_PROXY": "", "NO_PROXY": "*"}) is None
    assert with_proxy_remedy("look", "a.example", {}) == "look"
    said = with_proxy_remedy("look", "a.example", {"https_proxy": "http://user:secret@proxy"})
    assert said.startswith("look; https_proxy is set and never used: a.example must be reachable")
    assert "secret" not in said
