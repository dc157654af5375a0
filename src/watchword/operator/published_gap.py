# SPDX-License-Identifier: Apache-2.0
"""How the bundle that gates read differs from the one that the resources ask for, workload by workload.

A bundle that cannot be written leaves the one before it in force. A status that speaks of what was compiled
would then say "its calls are refused" of a workload that every gate lets in.
"""

from collections.abc import Mapping

import msgspec

from watchword.trust.bundle import Bundle, BundleGrant, BundleIssuer, BundleWorkload

_Content = tuple[BundleWorkload, str, tuple[BundleGrant, ...]]


class PublishedGap(msgspec.Struct, frozen=True):
    """What gates do otherwise than the resources say. Names are of TrustedWorkloads.

    Attributes:
        generation: of the bundle that gates read; 0: they read none.
        is_known: False: what they run on could not be read, and each workload may be treated as before.
        absent: trusted by the resources, and refused by gates.
        outdated: trusted by both, with other content: its grants, its subject, its end.
        lingering: not trusted by the resources, or not there any more, and let in by gates.
        is_issuer_outdated: keys or revocations of an issuer are not those of the resources.
    """

    generation: int = 0
    is_known: bool = True
    absent: frozenset[str] = frozenset()
    outdated: frozenset[str] = frozenset()
    lingering: frozenset[str] = frozenset()
    is_issuer_outdated: bool = False

    @property
    def source(self) -> str:
        """What gates run on, for a message."""
        if not self.is_known:
            return "Gates run on the last bundle that they could read"
        if not self.generation:
            return "There is no bundle for gates to read"
        return f"Gates run on the bundle of generation {self.generation}"

    def summary(self) -> str:
        """All of it in one or two sentences, in counts."""
        if not self.is_known:
            return f"{self.source}, which is not known to hold what the resources say"
        parts = []
        if self.absent:
            parts.append(f"lacks {_workloads(len(self.absent))}")
        if self.outdated:
            parts.append(f"holds {_workloads(len(self.outdated))} in an earlier version")
        if self.lingering:
            parts.append(
                f"still lets in {_workloads(len(self.lingering))} that the resources do not trust (any more)"
            )
        if self.is_issuer_outdated:
            parts.append("has not the newest keys or revocations of an issuer")
        if not self.generation:
            return f"{self.source}" + (f": {_workloads(len(self.absent))} cannot call" if self.absent else "")
        return f"{self.source}" + (f", which {', '.join(parts)}" if parts else "")


def gap_between(published: Bundle | None, wanted: Bundle, now: float) -> PublishedGap:
    """Compare the bundle that gates read with the one that the resources ask for.

    Args:
        published: what the ConfigMap really holds; None: nothing.
        wanted: what the resources come to.
        now: seconds since the epoch: a row that has expired lets no caller in.
    """
    asked = _rows(wanted)
    welcome = {name for name, (row, _, _) in asked.items() if _lets_in(row, now)}
    if published is None:
        return PublishedGap(absent=frozenset(welcome))
    held = _rows(published)
    let_in = {name for name, (row, _, _) in held.items() if _lets_in(row, now)}
    return PublishedGap(
        generation=published.generation,
        absent=frozenset(welcome - let_in),
        outdated=frozenset(name for name in welcome & let_in if held[name] != asked[name]),
        lingering=frozenset(let_in - welcome),
        is_issuer_outdated=_said(published) != _said(wanted),
    )


def _rows(bundle: Bundle) -> Mapping[str, _Content]:
    """Each row with what it points to, so that rows of two bundles can be compared."""
    return {
        row.name: (
            msgspec.structs.replace(row, issuer=0, grants=0),
            bundle.issuers[row.issuer].name,
            bundle.grants[row.grants],
        )
        for row in bundle.workloads
    }


def _lets_in(row: BundleWorkload, now: float) -> bool:
    has_ended = row.expires_at is not None and row.expires_at <= now
    return not row.suspended and row.live_uid != "" and not has_ended


def _said(bundle: Bundle) -> Mapping[str, BundleIssuer]:
    return {issuer.name: issuer for issuer in bundle.issuers}


def _workloads(number: int) -> str:
    return f"{number} workload" + ("" if number == 1 else "s")
