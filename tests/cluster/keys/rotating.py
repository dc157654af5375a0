# SPDX-License-Identifier: Apache-2.0
"""A real API server whose ServiceAccount keys and `iss` are changed as an admin does it: files, a restart.

Kubernetes: one file holds the key that signs, another all keys that are accepted and published.
"""

from __future__ import annotations

from pathlib import Path

from testing.controlplane import Cluster, SigningKey

READER = ("keys", "reader")


class RotatingCluster:
    """One cluster, through its rotations; its tokens come from the server itself."""

    def __init__(self, cluster: Cluster, folder: Path, *, is_public: bool = True) -> None:
        self.cluster, self._folder = cluster, folder
        cluster.create_namespace(READER[0])
        cluster.create_service_account(*READER)
        cluster.create_namespace("atlas")
        cluster.create_service_account("atlas", "atlas")
        cluster.create_pod("atlas", "atlas-0", "atlas")
        if is_public:
            self.publish_to_strangers()

    @property
    def keys_url(self) -> str:
        return f"{self.cluster.url}/openid/v1/jwks"

    def publish_to_strangers(self) -> None:
        """What an admin does whose keys are to be read without a credential (Kubernetes docs, RBAC)."""
        group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "system:unauthenticated"}
        role = {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:service-account-issuer-discovery",
        }
        self.cluster.apply(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": "keys-for-everyone"},
                "roleRef": role,
                "subjects": [group],
            }
        )

    def rotate(self, signing: SigningKey, *others: SigningKey) -> None:
        """Sign with one key from here on; publish and accept it and the others."""
        signing.write_private(self._folder / "service-account.key")
        published = self._folder / "service-account.pub"
        pems = []
        for key in (signing, *others):
            key.write_public(published)
            pems.append(published.read_bytes())
        published.write_bytes(b"".join(pems))
        self.restart()

    def move(self, *issuers: str) -> None:
        """Sign with the first `iss` from here on; accept all of them."""
        self.cluster.program.set_flag("--service-account-issuer", issuers)
        self.restart()

    def restart(self) -> None:
        """Kill it and start it again, with the files and flags of now."""
        self.cluster.program.kill()
        self.cluster.program.start()

    def token(self, audience: str = "tuist-server") -> bytes:
        """What the server mints for the workload's pod now."""
        return self.cluster.token("atlas", "atlas", [audience], pod="atlas-0").encode()

    def reader_token(self) -> str:
        """A token with which the server gives its own keys, whoever else it gives them to."""
        return self.cluster.token(*READER)
