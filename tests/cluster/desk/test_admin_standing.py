# SPDX-License-Identifier: Apache-2.0
"""What a desk finds of an admin client on a real API server, where no operator puts anything right."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testing import manifests
from testing.controlplane import Binaries, Cluster, Etcd, wait_until
from testing.controlplane.cluster import ADMINISTRATOR
from testing.manifests import API
from tests.cluster.desk.conftest import DESKS
from tests.cluster.governed import governed_cluster
from watchword.desk.admin.standing import AdminStanding, StandingUnknownError
from watchword.desk.cluster import ClusterDesk
from watchword.kube.watch import Endpoint

_RULES = Path(__file__).parents[3] / "charts" / "watchword" / "files" / "rules"
_RBAC = "rbac.authorization.k8s.io"
MERGE = "application/merge-patch+json"
PATH = f"/apis/{API}/namespaces/{DESKS}/deskclients/robot"
Object = dict[str, Any]


def robot(**spec: Any) -> Object:
    by = {"serviceAccount": {"issuerRef": {"name": "mine"}, "namespace": "callers", "name": "robot"}}
    default = {"type": "AdminServiceAccount", "serviceRefs": [], "authentication": by}
    flag = {"adminServiceAccount": True, "grantedBy": ADMINISTRATOR}
    return manifests.desk_client("robot", DESKS, **(default | flag | spec))


class Desk:
    """A desk's view, under the rights that are shipped."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        (folder / "token").write_text(cluster.token(DESKS, "desk", expiration_seconds=7200))
        (folder / "nobody").write_text(cluster.token(DESKS, "nobody", expiration_seconds=7200))
        self.folder = folder

    def standing(self, name: str = "robot", token: str = "token", url: str = "") -> AdminStanding:  # noqa: S107
        endpoint = Endpoint(
            url or self.cluster.url,
            ca_file=str(self.cluster.authority),
            token_file=str(self.folder / token),
        )

        async def ask() -> AdminStanding:
            found = ClusterDesk(endpoint, DESKS, "desk")
            try:
                return await found.standing(name)
            finally:
                await found.close()

        return asyncio.run(ask())

    def mark(self, **members: Any) -> None:
        """Write the operator's mark, as the administrator of the cluster."""
        generation = self.cluster.request("GET", PATH)["metadata"]["generation"]
        mark = {"policy": "p", "generation": generation, "counts": True} | members
        self.cluster.request("PATCH", f"{PATH}/status", {"status": {"adminGrant": mark}}, content_type=MERGE)


@pytest.fixture(scope="module")
def desk(control_plane: Binaries, etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("standing")
    with governed_cluster(folder, control_plane, etcd, []) as cluster:
        cluster.create_namespace(DESKS)
        for name in ("desk", "nobody"):
            cluster.create_service_account(DESKS, name)
        account = {"kind": "ServiceAccount", "name": "desk", "namespace": DESKS}
        for kind, file, metadata in (
            ("Role", "desk.yaml", {"name": "desk", "namespace": DESKS}),
            ("ClusterRole", "desk-cluster.yaml", {"name": "desk"}),
        ):
            document: Object = {"apiVersion": f"{_RBAC}/v1", "metadata": metadata}
            rules = yaml.safe_load((_RULES / file).read_text())
            reference = {"apiGroup": _RBAC, "kind": kind, "name": "desk"}
            cluster.apply(document | {"kind": kind, "rules": rules})
            cluster.apply(document | {"kind": f"{kind}Binding", "roleRef": reference, "subjects": [account]})
        cluster.apply(robot())
        made = Desk(cluster, folder)

        def may_read() -> bool:
            try:
                made.standing()
            except StandingUnknownError:
                return False
            return True

        wait_until(may_read, what="the desk may read", timeout_seconds=60)
        yield made


def test_a_flag_that_the_operator_did_not_confirm_for_this_generation_is_none(desk: Desk) -> None:
    unconfirmed = "the operator has not confirmed"
    assert desk.standing().problem.startswith(unconfirmed)
    desk.mark(counts=False)
    assert desk.standing().problem.startswith(unconfirmed)
    desk.mark(generation=99)
    assert desk.standing().problem.startswith(unconfirmed)
    desk.mark()
    assert desk.standing().problem == ""
    # Another spec is another generation, and the mark is of the one before.
    version = desk.standing().version
    desk.cluster.apply(robot(authentication={"jwks": {"keys": [{"kty": "EC", "kid": "k"}]}}))
    assert desk.standing().problem.startswith(unconfirmed)
    desk.mark()
    assert desk.standing().problem == ""
    assert desk.standing().version != version
    # Even the spec of before is another version: a token from before the change stays without effect.
    desk.cluster.apply(robot())
    desk.mark()
    assert desk.standing().problem == ""
    assert desk.standing().version != version


@pytest.mark.parametrize(
    "name", ["nobody", "", "..", "../../secrets", "a/b", "robot?x=y", "Robot", "robot/status"]
)
def test_a_name_that_no_client_has_is_no_admin(desk: Desk, name: str) -> None:
    assert desk.standing(name).problem == "there is no such DeskClient"


def test_a_client_of_another_desk_is_no_admin_of_this_one(desk: Desk) -> None:
    desk.cluster.apply(robot(deskRef={"name": "other"}))
    desk.mark()
    assert "another desk" in desk.standing().problem
    desk.cluster.apply(robot())
    desk.mark()
    assert desk.standing().problem == ""


def test_where_it_cannot_be_read_no_one_is_an_admin(desk: Desk) -> None:
    with pytest.raises(StandingUnknownError, match="403"):
        desk.standing(token="nobody")
    with pytest.raises(StandingUnknownError, match="cannot be asked"):
        desk.standing(url="https://127.0.0.1:1")


class Forwarder:
    """A port in front of the API server that counts connections; each is a TLS handshake."""

    def __init__(self, url: str) -> None:
        self.host, self.port = url.removeprefix("https://").split(":")
        self.count = 0

    async def __aenter__(self) -> Forwarder:
        self.server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"https://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.count += 1
        there, back = await asyncio.open_connection(self.host, int(self.port))
        await asyncio.gather(_pass(reader, back), _pass(there, writer), return_exceptions=True)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


def test_calls_share_connections_and_an_authority_that_changes_ends_them(desk: Desk, tmp_path: Path) -> None:
    good = desk.cluster.authority.read_bytes()
    authority = tmp_path / "ca.crt"
    authority.write_bytes(good)

    async def ask() -> list[int]:
        async with Forwarder(desk.cluster.url) as forwarder:
            token = str(desk.folder / "token")
            endpoint = Endpoint(forwarder.url, ca_file=str(authority), token_file=token)
            found, counts = ClusterDesk(endpoint, DESKS, "desk"), list[int]()
            for _ in range(10):
                await found.standing("robot")
            counts.append(forwarder.count)
            await asyncio.gather(*(found.standing("robot") for _ in range(5)))
            authority.write_bytes(good + b"\n")
            before = forwarder.count
            await asyncio.gather(*(found.standing("robot") for _ in range(5)))
            counts.append(forwarder.count - before)
            authority.write_text("no certificate")
            with pytest.raises(StandingUnknownError, match="cannot be asked"):
                await found.standing("robot")
            authority.write_bytes(good)
            await found.standing("robot")
            await found.close()
            await found.close()
            # What comes after the end is answered all the same.
            await found.standing("robot")
            await found.close()
            return counts

    kept, again = asyncio.run(ask())
    assert kept <= 3
    assert again > 0
