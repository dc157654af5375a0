# SPDX-License-Identifier: Apache-2.0
"""Finding the API server: what a person is told when it cannot be found, and what is never accepted."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from testing.controlplane.certificates import new_authority, write_serving_files
from watchword.kube.kubeconfig import connect
from watchword.process.listening import CannotStartError


def kubeconfig(folder: Path, *, user: dict[str, Any] | None = None, **cluster: Any) -> Path:
    """A kubeconfig with one of each."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "a", "cluster": {"server": "https://127.0.0.1:6443", **cluster}}],
        "users": [{"name": "a", "user": user or {"token": "s3cret-token"}}],
        "contexts": [
            {"name": "a", "context": {"cluster": "a", "user": "a", "namespace": "elsewhere"}},
            {"name": "b", "context": {"cluster": "a", "user": "a"}},
        ],
        "current-context": "a",
    }
    path = folder / "config"
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(autouse=True)
def no_surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "no-home"))


def test_a_kubeconfig_gives_server_namespace_and_credential(tmp_path: Path) -> None:
    path = str(kubeconfig(tmp_path))
    connection = connect(path)
    assert connection.server == "https://127.0.0.1:6443"
    assert connection.namespace == "elsewhere"
    assert asyncio.run(connection.authorization()) == "Bearer s3cret-token"
    assert connection.endpoint().token == "s3cret-token"
    assert connect(path, "b").namespace is None


def test_a_client_certificate_goes_to_every_client(tmp_path: Path) -> None:
    files = write_serving_files(new_authority(tmp_path))
    pair = {"client-certificate": str(files.certificate), "client-key": str(files.private_key)}
    path = kubeconfig(tmp_path, user=pair, **{"certificate-authority": str(files.authority)})
    connection = connect(str(path))
    assert connection.endpoint().client_certificate == (str(files.certificate), str(files.private_key))
    assert asyncio.run(connection.authorization()) is None
    assert connection.ssl_context().get_ca_certs()


@pytest.mark.parametrize(
    ("cluster", "said"),
    [
        ({"insecure-skip-tls-verify": True}, "certificate-authority instead"),
        ({"tls-server-name": "other.example"}, "does not support"),
    ],
    ids=str,
)
def test_what_would_weaken_tls_is_refused_with_what_would_be_right(
    tmp_path: Path, cluster: dict[str, Any], said: str
) -> None:
    with pytest.raises(CannotStartError, match=said):
        connect(str(kubeconfig(tmp_path, **cluster)))


@pytest.mark.parametrize("content", ["", "nothing: here", "[]", "{", "clusters: 7", "a: &a [*a]"])
def test_a_broken_kubeconfig_is_named_with_a_remedy_and_none_of_its_content(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "broken"
    path.write_text(content + "\n# token: s3cret-token\n")
    with pytest.raises(CannotStartError) as refused:
        connect(str(path))
    assert str(path) in str(refused.value)
    assert "--kubeconfig" in str(refused.value)
    assert "s3cret-token" not in str(refused.value)


def test_no_kubeconfig_and_no_pod_is_said(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match=r"cannot be used: .*--kubeconfig.*or run in a pod"):
        connect()
    with pytest.raises(CannotStartError, match=r"missing.*cannot be used"):
        connect(str(tmp_path / "missing"))


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotStartError, match="nowhere"):
        connect(str(kubeconfig(tmp_path)), "nowhere")


def test_a_pod_without_a_token_is_told_what_to_leave_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(CannotStartError, match="automountServiceAccountToken"):
        connect()
