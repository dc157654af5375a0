# SPDX-License-Identifier: Apache-2.0
"""A stream of edits that remembers what it wants, and a witness of every bundle that was ever published.

Afterwards two things can be told: whether an edit was lost, and whether a generation ever went back.
"""

from __future__ import annotations

import json
import random
import ssl
import threading
from typing import Any

import httpx

from testing.controlplane import Cluster
from testing.faults.standing import APPS, BUNDLE, Standing, bundle_in
from testing.gate_process import NAMESPACE
from watchword.trust import decode_bundle

_GRANT = "account:usage:read"


class EditStream:
    """Trusts, changes and drops workloads, one edit after the other, until the block ends.

    Attributes:
        wanted: TrustedWorkload to the account that it is granted, as last written.
        edits: how many were made.
    """

    def __init__(
        self, standing: Standing, *, seed: int, workloads: int = 12, pause_seconds: float = 0.05
    ) -> None:
        self.wanted: dict[str, str] = {}
        self.edits = 0
        self.problem: Exception | None = None
        self._standing, self._dice, self._pause = standing, random.Random(seed), pause_seconds
        self._names = [f"edited-{number}" for number in range(workloads)]
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._edit, name="edits")

    def __enter__(self) -> EditStream:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        if self.problem is not None:
            raise self.problem

    def _edit(self) -> None:
        try:
            while not self._is_over.is_set():
                name = self._dice.choice(self._names)
                if name in self.wanted and self._dice.random() < 0.3:
                    self._standing.distrust(name)
                    del self.wanted[name]
                else:
                    account = f"acct_{self.edits}"
                    self._standing.trust(name, grants=[{"scopes": [_GRANT], "accounts": [account]}])
                    self.wanted[name] = account
                self.edits += 1
                self._is_over.wait(self._pause)
        except Exception as problem:  # noqa: BLE001 - raised again where the block ends
            self.problem = problem

    def published(self) -> dict[str, str]:
        """What the bundle in the API server grants to these workloads."""
        _, document = self._standing.bundle()
        bundle = decode_bundle(json.dumps(document).encode())
        return {
            row.name: bundle.grants[row.grants][0].accounts[0]
            for row in bundle.workloads
            if row.name in self._names
        }

    def clean_up(self) -> None:
        """Drop them all."""
        for name in list(self.wanted):
            self._standing.distrust(name)
            del self.wanted[name]


class Witness:
    """Watches the bundle's ConfigMap through the API, from the outside, and writes every generation down.

    Attributes:
        generations: in the order of the API server's own history.
        digests: the digests of content that were published under each generation.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.generations: list[int] = []
        self.digests: dict[int, set[str]] = {}
        self.problem: Exception | None = None
        self._cluster = cluster
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="witness")

    def __enter__(self) -> Witness:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()
        if self.problem is not None:
            raise self.problem

    def steps_back(self) -> list[tuple[int, int]]:
        """Each (generation, the lower one that came after it)."""
        pairs = zip(self.generations, self.generations[1:], strict=False)
        return [(earlier, later) for earlier, later in pairs if later < earlier]

    def contradictions(self) -> dict[int, set[str]]:
        """Generations that were published with more than one content."""
        return {number: digests for number, digests in self.digests.items() if len(digests) > 1}

    def _watch(self) -> None:
        try:
            path = f"/api/v1/namespaces/{NAMESPACE}/configmaps"
            selector = {"fieldSelector": f"metadata.name={BUNDLE}"}
            listed = self._cluster.request("GET", path, parameters=selector)
            for item in listed["items"]:
                self._note(item)
            version = listed["metadata"]["resourceVersion"]
            while not self._is_over.is_set():
                version = self._follow(path, {**selector, "watch": "1", "resourceVersion": version}, version)
        except Exception as problem:  # noqa: BLE001 - raised again where the block ends
            self.problem = problem

    def _follow(self, path: str, parameters: dict[str, str], version: str) -> str:
        bearer = json.loads(self._cluster.kubeconfig.read_text())["users"][0]["user"]["token"]
        parameters |= {"timeoutSeconds": "2"}
        trust = ssl.create_default_context(cafile=str(self._cluster.authority))
        with (
            httpx.Client(verify=trust, trust_env=False, timeout=30.0) as client,
            client.stream(
                "GET",
                f"{self._cluster.url}{path}",
                params=parameters,
                headers={"Authorization": f"Bearer {bearer}"},
            ) as answer,
        ):
            for line in answer.iter_lines():
                event: dict[str, Any] = json.loads(line)
                assert event["type"] in {"ADDED", "MODIFIED"}, event
                self._note(event["object"])
                version = event["object"]["metadata"]["resourceVersion"]
        return version

    def _note(self, config_map: dict[str, Any]) -> None:
        generation, document = bundle_in(config_map)
        assert document["generation"] == generation, "annotation and document agree"
        self.generations.append(generation)
        self.digests.setdefault(generation, set()).add(document["digest"])


def accounts_exist(standing: Standing, count: int = 12) -> None:
    """ServiceAccounts for the edited workloads, so that they are live ones."""
    for number in range(count):
        standing.cluster.create_service_account(APPS, f"edited-{number}")
