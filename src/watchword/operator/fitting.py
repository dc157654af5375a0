# SPDX-License-Identifier: Apache-2.0
"""A bundle published whole, or where it is too large, as much of it as takes trust away.

One object is all the room that a bundle has, and whoever may create TrustedWorkloads can fill it. If the last
good one then simply stayed, nobody could be put out any more.
"""

import msgspec

from watchword.operator.objects import BundleTooLarge
from watchword.operator.publish import Publication, Publisher
from watchword.trust.bundle import Bundle
from watchword.trust.narrowing import without_newcomers
from watchword.trust.specs import ProtectedService
from watchword.trust.specs.status import BundleStatus


class Fitted(msgspec.Struct, frozen=True):
    """What came of it.

    Attributes:
        publication: what is published now; None: nothing was, and nothing is known of what was.
        problem: why it is not the whole bundle; empty: it is.
        waiting: names of the workloads that it had no room for.
    """

    publication: Publication | None
    problem: str = ""
    waiting: frozenset[str] = frozenset()


async def publish_what_fits(
    publisher: Publisher, service: ProtectedService, bundle: Bundle, status: BundleStatus | None
) -> Fitted:
    """Publish a bundle, or of one that is too large the part without newcomers.

    Args:
        publisher: writes it.
        service: the service.
        bundle: its bundle, with any generation.
        status: what the service's status says was published last.

    Raises:
        NameTaken, Conflict, Refused, Unavailable, NotLeading: as `Publisher.publish`.
    """
    try:
        return Fitted(await publisher.publish(service, bundle, status))
    except BundleTooLarge as large:
        problem = str(large)
    everybody = frozenset(row.name for row in bundle.workloads)
    published = await publisher.published(service)
    if published is None:
        return Fitted(None, problem, everybody)
    for only_unchanged in (False, True):
        smaller = without_newcomers(published, bundle, only_unchanged=only_unchanged)
        try:
            publication = await publisher.publish(service, smaller, status)
        except BundleTooLarge:
            continue
        return Fitted(publication, problem, everybody - {row.name for row in smaller.workloads})
    return Fitted(None, problem, everybody)
