# SPDX-License-Identifier: Apache-2.0
"""What somebody really asked of an API server, from its audit log (Kubernetes, "Auditing").

A client's own account of its requests leaves out what its libraries ask for behind its back, and what was
denied and tried no more. The API server writes down both.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testing.controlplane.certificates import write_private_file


@dataclass(frozen=True, slots=True, order=True)
class Access:
    """One verb on one resource, as a role grants it; `group` is empty for core and for URLs.

    `resource` has its subresource behind a slash; one that starts with a slash is a URL of no resource.
    """

    verb: str
    group: str
    resource: str

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}" + (f".{self.group}" if self.group else "")


@dataclass(frozen=True, slots=True)
class Request:
    """One request that was answered, or a watch that has begun to be."""

    access: Access
    namespace: str
    name: str
    status: int

    @property
    def uses(self) -> tuple[Access, ...]:
        """The rights that it used: an apply that makes an object needs `create` too."""
        if self.access.verb == "patch" and self.status == 201:
            return (self.access, Access("create", self.access.group, self.access.resource))
        return (self.access,)


class AuditLog:
    """The log of one API server about some users; give its `flags` to `start_cluster`."""

    def __init__(self, folder: Path, users: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        policy, self._path = folder / "audit-policy.json", folder / "audit.log"
        content = {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [{"level": "Metadata", "users": list(users)}, {"level": "None"}],
        }
        write_private_file(policy, json.dumps(content).encode())
        self.flags: Sequence[str] = (f"--audit-policy-file={policy}", f"--audit-log-path={self._path}")

    def requests(self, user: str) -> Iterator[Request]:
        """Everything that this user asked for, in the order of the answers."""
        with self._path.open() as lines:
            # The last line may still be in the making.
            for line in lines:
                if line.endswith("\n"):
                    event = json.loads(line)
                    if event["user"].get("username") == user:
                        yield _request(event)


def rights(rules: Sequence[Mapping[str, Any]]) -> frozenset[Access]:
    """Every single right that these rules of a role grant. Raises ValueError for a rule with a wildcard."""
    granted = set()
    for rule in rules:
        targets = [
            *((group, resource) for group in rule.get("apiGroups", ()) for resource in rule["resources"]),
            *(("", url) for url in rule.get("nonResourceURLs", ())),
        ]
        granted |= {Access(verb, *target) for verb in rule["verbs"] for target in targets}
    if wild := [each for each in granted if "*" in str(each)]:
        raise ValueError(f"a wildcard grants what no one has counted: {', '.join(map(str, wild))}")
    return frozenset(granted)


def _request(event: Mapping[str, Any]) -> Request:
    target = event.get("objectRef", {})
    if target.get("resource"):
        subresource = f"/{target['subresource']}" if "subresource" in target else ""
        access = Access(event["verb"], target.get("apiGroup", ""), target["resource"] + subresource)
    else:
        access = Access(event["verb"], "", event["requestURI"].partition("?")[0])
    status = event.get("responseStatus", {}).get("code", 0)
    return Request(access, target.get("namespace", ""), target.get("name", ""), status)
