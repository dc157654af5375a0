# SPDX-License-Identifier: Apache-2.0
"""What became of admin clients between two states of a desk: each change noted once, by any of the replicas.

Several replicas see each change, and each of them again after a restart. So a note is bound to the version of
the object, and the store takes it once.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

from watchword.desk import audit_events
from watchword.desk.admin.standing import standing_of
from watchword.desk.store import UseAssertion
from watchword.trust.admin_grants import is_flagged, is_of_admin_type
from watchword.trust.api.v1alpha1 import DeskClient

# No DeskClient can be called so: what is used once here is no client's assertion.
_NOTED: Final = "(admin clients)"
# For as long as an object of that version could be there.
_KEPT_SECONDS: Final = 10 * 366 * 86_400


def admin_changes(
    before: Iterable[DeskClient], after: Iterable[DeskClient], now: float
) -> list[UseAssertion]:
    """What is to be written, with its audit entries; what was written before has no effect.

    Args:
        before: the desk's DeskClients as they were; none at the start.
        after: as they are.
        now: seconds since the epoch.
    """
    known = {each.metadata.name: each for each in before}
    found: list[UseAssertion] = []
    for client in after:
        earlier = known.pop(client.metadata.name, None)
        if earlier is not None and earlier.metadata.uid != client.metadata.uid:
            # Deleted and made again between two looks.
            if is_flagged(earlier):
                found.append(_note(earlier, "removed", now))
            earlier = None
        if earlier == client or not is_of_admin_type(client):
            continue
        if is_flagged(client):
            found.append(_note(client, "granted", now))
        elif client.spec.admin_service_account is False or (earlier is not None and is_flagged(earlier)):
            found.append(_note(client, "withdrawn", now))
    found += [_note(each, "removed", now) for each in known.values() if is_flagged(each)]
    return found


def _note(client: DeskClient, change: str, now: float) -> UseAssertion:
    metadata = client.metadata
    # Where there is no API server, only what the object says tells one version from another.
    version = f"{metadata.uid}/{metadata.generation}" if metadata.uid else standing_of(client).version
    key = hashlib.sha256(f"{metadata.name} {version} {change}".encode()).hexdigest()
    event = audit_events.admin_client_changed(client, change, now)
    return UseAssertion(_NOTED, key, int(now) + _KEPT_SECONDS, event)
