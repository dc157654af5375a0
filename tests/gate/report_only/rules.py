# SPDX-License-Identifier: Apache-2.0
"""A service that only reports, until half an hour from now, with one workload trusted for one account."""

from datetime import UTC, datetime
from typing import Any

from testing.manifests import compiled, issuer, reporting_namespace, service, workload
from testing.tokens import NOW
from watchword.trust import Ruleset, load

LASTS = 1800.0
UNTIL = NOW + LASTS
METHODS = ["GET", "HEAD", "POST"]
ROUTES = [
    {"path": "/app/{account}", "methods": METHODS, "scope": "app:use"},
    {"path": "/admin", "methods": METHODS, "scope": "app:administer"},
]
GRANTS = [{"scopes": ["app:use"], "accounts": ["acme"]}]


def at(seconds: float) -> str:
    """A time as a resource has it: in whole seconds."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def reporting(
    *others: dict[str, Any],
    until: float = UNTIL,
    now: float = NOW,
    generation: int | None = None,
    label: str | None = "allowed",
    trusted: dict[str, Any] | None = None,
    issued_by: dict[str, Any] | None = None,
    **spec: Any,
) -> Ruleset:
    """What a gate runs; the bundle was made at `now` unless its generation says otherwise."""
    protected = service(**({"routes": ROUTES, "reportOnlyUntil": at(until)} | spec))
    objects = [issued_by or issuer(), protected, *others]
    objects.append(trusted or workload(grants=GRANTS))
    if label is not None:
        objects.append(reporting_namespace(label=label))
    made = int(now * 1000) if generation is None else generation
    return load(compiled(*objects, generation=made, now=now).bundles[0])


def enforcing(*, generation: int = int(NOW * 1000), **spec: Any) -> Ruleset:
    """The same service without report only."""
    objects = issuer(), service(routes=ROUTES, **spec), workload(grants=GRANTS)
    return load(compiled(*objects, generation=generation).bundles[0])
