# SPDX-License-Identifier: Apache-2.0
"""Why a desk token allows less than its workload: what each grant of it has that the token leaves out."""

from collections.abc import Iterable

from watchword.identity import Grant, Identity
from watchword.trust import EVERY
from watchword.trust.grants import common_grant


def narrowing_of(identity: Identity) -> tuple[str, ...]:
    """What the workload may and the token may not, a sentence each; nothing for a workload's own token."""
    desk = identity.desk
    if desk is None:
        return ()
    said: list[str] = []
    if desk.purpose is not None:
        said.append(f"The token is for {desk.purpose}: it passes only on routes of that purpose.")
    for own in identity.grants:
        if common_grant(own, own) is None:
            # Projects without an account: it holds for no path at all.
            continue
        said += _missing(own, [both for each in desk.grants if (both := common_grant(each, own)) is not None])
    said += [
        f"The token says {shown_grant(each)}, and no grant of the workload allows it."
        for each in desk.grants
        if all(common_grant(each, own) is None for own in identity.grants)
    ]
    return tuple(dict.fromkeys(said))


def shown_grant(grant: Grant) -> str:
    """A grant on one line."""
    return " ".join(filter(None, (", ".join(grant.scopes), held_for(grant))))


def _missing(own: Grant, left: list[Grant]) -> list[str]:
    """What is left out of one grant of the workload."""
    if not left:
        return [f"The token leaves out {shown_grant(own)}."]
    found = []
    scopes = _without(own.scopes, (each.scopes for each in left))
    if scopes:
        found.append(f"The token leaves out the scope{_s(scopes)} {', '.join(scopes)}.")
    for kind, held, kept in (
        ("account", own.accounts, [each.accounts for each in left]),
        ("project", own.projects, [each.projects for each in left]),
    ):
        names = _without(held, kept)
        if held == (EVERY,) and names:
            kept_names = sorted({name for each in kept for name in each})
            found.append(
                f"The workload may for every {kind}, the token for {', '.join(kept_names) or 'none'}."
            )
        elif names:
            found.append(f"The token leaves out the {kind}{_s(names)} {', '.join(names)}.")
    return found


def _without(held: tuple[str, ...], kept: Iterable[tuple[str, ...]]) -> list[str]:
    there = {name for each in kept for name in each}
    return [] if EVERY in there else [name for name in held if name not in there]


def held_for(grant: Grant) -> str:
    """`for accounts acme; projects ios`; empty for a grant without an account."""
    holders = [("accounts", grant.accounts), ("projects", grant.projects)]
    held = "; ".join(f"{kind} {', '.join(names)}" for kind, names in holders if names)
    return f"for {held}" if held else ""


def _s(names: list[str]) -> str:
    return "" if len(names) == 1 else "s"
