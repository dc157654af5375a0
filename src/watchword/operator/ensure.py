# SPDX-License-Identifier: Apache-2.0
"""The other objects of a service: there and as they should be, or gone, with as few writes as that takes.

What is there is compared by content, so that a restart writes nothing; what somebody else changed is put back
and said; what is somebody else's is never touched, whatever its name.
"""

from watchword.operator.apply import Writer
from watchword.operator.managed import ManagedKind, ManagedObjects, Seen, seen_from
from watchword.operator.names import Name, is_ours
from watchword.operator.objects import Body, fingerprint
from watchword.operator.publish import NameTaken
from watchword.trust.specs import ProtectedService


class Ensurer:
    """Keeps Roles, RoleBindings and NetworkPolicies."""

    def __init__(self, writer: Writer, managed: ManagedObjects) -> None:
        """Write through a writer."""
        self._writer, self._managed = writer, managed

    async def ensure(self, service: ProtectedService, body: Body) -> str:
        """See to it that an object is there as the body says.

        Returns:
            What somebody else had done to it and was put right, for an Event; empty: nothing.

        Raises:
            NameTaken: an object of somebody else has the name.
            Conflict, Refused, Unavailable, NotLeading: as `Writer.apply`.
        """
        kind: ManagedKind = body["kind"]
        place: Name = (body["metadata"]["namespace"], body["metadata"]["name"])
        seen, written = self._managed.seen(kind, place), self._managed.written(kind, place)
        wanted = fingerprint(body)
        if seen is not None and seen.content == wanted:
            return ""
        undone = ""
        if seen is None:
            # Nothing of ours by that name: it is free, or somebody else's, or ours without its label.
            document = await self._writer.read(body)
            if document is not None:
                if not is_ours(document["metadata"], service.metadata.name, service.metadata.uid):
                    raise NameTaken(kind, place[1])
                if fingerprint(document) == wanted:
                    self._managed.observe(kind, place, seen_from(kind, document))
                    return ""
            if written is not None:
                undone = f"{kind} {place[1]} was {'deleted' if document is None else 'changed'}"
        elif written is not None and written.content == wanted:
            undone = f"{kind} {place[1]} was changed"
        metadata = await self._writer.apply(body)
        version = seen_from("ConfigMap", {"metadata": metadata}).version
        # The server may write a thing differently; what it made of our body counts as our body.
        self._managed.wrote(kind, place, Seen(str(metadata["uid"]), version, wanted))
        return undone

    async def remove(self, body: Body) -> None:
        """See to it that an object of ours is gone; one that is somebody else's stays.

        Raises:
            Conflict, Refused, Unavailable, NotLeading: as `Writer.delete`.
        """
        kind: ManagedKind = body["kind"]
        place: Name = (body["metadata"]["namespace"], body["metadata"]["name"])
        seen = self._managed.seen(kind, place)
        if seen is None:
            return
        await self._writer.delete(body, seen.uid)
        self._managed.removed(kind, place)
