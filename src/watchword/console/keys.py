# SPDX-License-Identifier: Apache-2.0
"""The keys of an issuer and of a desk as rows, and which of them wait for a person."""

import time
from collections.abc import Iterable
from typing import Final

from watchword.console.model import Item, KeyRow, Tone
from watchword.identity import load_key_objects
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.issuers import revoked_keys
from watchword.trust.key_rotation.held_keys import held_from_status
from watchword.trust.key_rotation.state_machine import approval_deadline

_OF_DESKS: Final[dict[str, Tone]] = {
    "Signing": "good",
    "Published": "plain",
    "Retiring": "plain",
    "Revoked": "bad",
}


def key_source(item: Item) -> str:
    """Where an issuer's keys come from, in a few words."""
    if item.issuer is None:
        return "not valid"
    keys = item.issuer.spec.keys
    if keys.inline is not None:
        return "written in the object"
    if keys.config_map is not None:
        return f"ConfigMap {keys.config_map.namespace}/{keys.config_map.name}"
    if keys.discovery is not None:
        return f"fetched from {keys.discovery.jwks_url or item.issuer.spec.issuer}"
    return "this cluster's own"


def keys_of_issuer(item: Item) -> list[KeyRow]:
    """All keys that are known of an issuer: what waits comes first."""
    if item.issuer is None:
        return []
    spec = item.issuer.spec
    revoked = revoked_keys(spec)
    held = held_from_status(item.status.get("keys"))
    rows = [
        KeyRow.of(
            each,
            is_revoked=each.thumbprint in revoked,
            deadline=approval_deadline(spec.rotation, each, revoked),
        )
        for each in held
    ]
    known = {each.thumbprint for each in rows}
    if spec.keys.inline is not None:
        listed = spec.keys.inline.get("keys")
        for key in load_key_objects(listed if isinstance(listed, list) else []).keys:
            if key.thumbprint not in known:
                is_revoked = key.thumbprint in revoked
                state = "Revoked" if is_revoked else "Written"
                tone: Tone = "bad" if is_revoked else "good"
                rows.append(KeyRow(key.kid, key.thumbprint, key.algorithm, state, None, tone))
                known.add(key.thumbprint)
    for thumbprint in spec.rotation.approved:
        if thumbprint not in known:
            rows.append(KeyRow("", thumbprint, "", "Approved", None, "plain"))
            known.add(thumbprint)
    rows += [KeyRow("", each, "", "Revoked", None, "bad") for each in sorted(revoked - known)]
    return sorted(rows, key=lambda each: (each.state != "Pending",))


def waiting_keys(item: Item) -> list[KeyRow]:
    """The keys that a person should approve, or find out about: those that `watchword approve` lists."""
    if item.issuer is None:
        return []
    approved = item.issuer.spec.rotation.approved
    return [
        each for each in keys_of_issuer(item) if each.state == "Pending" and each.thumbprint not in approved
    ]


def overdue(keys: Iterable[KeyRow], now: float | None = None) -> int:
    """How many keys have waited for longer than they should."""
    at = time.time() if now is None else now
    return sum(each.deadline is not None and each.deadline <= at for each in keys)


def keys_of_desk(item: Item) -> list[KeyRow]:
    """The keys of a desk, as its status names them."""
    found = []
    entries = item.status.get("keys")
    for each in entries if isinstance(entries, list) else ():
        if isinstance(each, dict):
            state = str(each.get("state", ""))
            since = parse_time(str(each.get("since", "")))
            kid, thumbprint = str(each.get("kid", "")), str(each.get("thumbprint", ""))
            found.append(KeyRow(kid, thumbprint, "ES256", state, since, _OF_DESKS.get(state, "warn")))
    return found
