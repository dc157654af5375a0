# SPDX-License-Identifier: Apache-2.0
"""May this workload have that token? Never more than its own grants, and never a part of what it asked for.

A request that is partly covered is refused whole: a token that is silently narrower than asked fails later,
at someone else's door. Names are compared whole, so `prj_abc` opens no `prj_abcd`.
"""

from collections.abc import Iterable, Sequence

from watchword.desk.grant_request import GrantRequest
from watchword.desk.reasons import DeskReason
from watchword.desk.refusals import DeskRefusal, refuse
from watchword.identity import Grant
from watchword.trust import EVERY


def narrow(held: Sequence[Grant], request: GrantRequest) -> tuple[Grant, ...] | DeskRefusal:
    """The grants that a token gets: those that were asked for, if the workload holds all of each.

    What is asked for is covered if each single request that it would let pass (a scope, an account, a
    project) passes by one grant of the workload; as at a gate, grants are not added up for one request.

    Args:
        held: the workload's grants at the service.
        request: what the token is to allow.

    Returns:
        The requested grants as they are, or `grant_not_covered`. The refusal names what the caller asked for,
        and nothing of what the workload holds.
    """
    for grant in request.grants:
        missing = _missing(held, grant)
        if missing is not None:
            return refuse(
                DeskReason.GRANT_NOT_COVERED,
                f"The workload itself is not granted {missing}.",
                error=request.error,
            )
    return request.grants


def _missing(held: Sequence[Grant], asked: Grant) -> str | None:
    """What of a requested grant is not held, in the caller's own words; None: all of it is."""
    for scope in asked.scopes:
        with_scope = [grant for grant in held if scope in grant.scopes]
        if not with_scope:
            return f"the scope {scope}"
        if not asked.accounts:
            # Paths without an account and without a project: any grant for no projects lets those pass.
            if all(grant.projects for grant in with_scope):
                return f"the scope {scope} outside of projects"
            continue
        for account in asked.accounts:
            with_account = [grant for grant in with_scope if _holds(grant.accounts, account)]
            if not with_account:
                return f"the scope {scope} for the account {account!a}"
            if not asked.projects:
                if all(grant.projects for grant in with_account):
                    return f"the scope {scope} for the account {account!a} itself"
                continue
            missing = _missing_project((grant.projects for grant in with_account), asked.projects)
            if missing is not None:
                return f"the scope {scope} for the project {missing!a} of the account {account!a}"
    return None


def _missing_project(held: Iterable[tuple[str, ...]], asked: Iterable[str]) -> str | None:
    projects = frozenset(project for each in held for project in each)
    if EVERY in projects:
        return None
    return next((project for project in asked if project not in projects), None)


def _holds(names: Sequence[str], name: str) -> bool:
    # `*` is asked for by that very word, and only `*` covers it.
    return name in names or EVERY in names
