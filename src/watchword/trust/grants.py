# SPDX-License-Identifier: Apache-2.0
"""May this identity do that? Whole names only, and one grant must hold everything that the request needs.

Adding up grants would let a scope for one account meet an account of another scope; a prefix would let
`prj_abc` open `prj_abcd`; and a grant for one project that passes on a path without one opens the account.
"""

from collections.abc import Iterable, Set
from typing import Final

import msgspec

from watchword.identity import Grant, Identity, Reason, Refusal
from watchword.identity.claims import quoted
from watchword.trust.bundle import BundleGrant
from watchword.trust.routes import RouteLike, names_project

EVERY: Final = "*"
USAGE_READ_SCOPE: Final = "account:usage:read"
USAGE_WRITE_SCOPE: Final = "account:usage:write"
# The gate's own usage endpoints are about whole accounts, whatever routes a service has.
USAGE_SCOPES: Final = frozenset({USAGE_READ_SCOPE, USAGE_WRITE_SCOPE})

# What an answer lists: all of a workload's names could be a page.
_LISTED: Final = 8
_NAME_CHARACTERS: Final = 120

_ADD_ACCOUNT_WIDE: Final = (
    "A grant for projects holds only for paths that name one of them. For the account itself, the service's "
    "owner writes a second grant without projects."
)
_ADD_PROJECT: Final = (
    "A grant without projects holds only for paths without a project. For projects, the service's owner "
    'writes a second grant that names them, or "*".'
)


def authorize(
    identity: Identity,
    scope: str,
    account: str | None = None,
    project: str | None = None,
    purpose: str | None = None,
) -> Grant | Refusal:
    """Find the grant that permits a request (check 16).

    Args:
        identity: who is calling.
        scope: the scope that the route requires.
        account: the account that the request is about; None: none.
        project: the project that the request is about; None: none.
        purpose: the purpose that the route is for; None: none.

    Returns:
        The first grant that holds the scope, the account where the request names one, and exactly the kind of
        request: with a project, one of the grant's; without one, a grant that has no projects. Where a desk
        token was presented, what both its grant and the workload's allow. Or `insufficient_scope`,
        `account_not_granted`, `not_in_token` or `wrong_purpose`.
    """
    if identity.desk is not None or purpose is not None:
        return _authorize_by_desk(identity, (scope, account, project), purpose)
    holding = [grant for grant in identity.grants if scope in grant.scopes]
    if not holding:
        return _lacks_scope(identity, scope)
    for grant in holding:
        if _holds_account(grant, account, project) and _holds_project(grant, project):
            return grant
    return _refusal(identity, holding, scope, account, project)


def _lacks_scope(identity: Identity, scope: str) -> Refusal:
    held = {each for grant in identity.grants for each in grant.scopes}
    detail = f"The route requires the scope {scope}."
    hint = (
        f"The service's owner adds {scope} to spec.grants of the TrustedWorkload {identity.workload}, which "
        f"grants {_listed(held) or 'nothing'}."
    )
    return Refusal(Reason.INSUFFICIENT_SCOPE, detail, hint)


def held_grants(identity: Identity) -> tuple[Grant, ...]:
    """All that an identity may do: the workload's grants, or what they and a desk token's both allow."""
    if identity.desk is None:
        return identity.grants
    both = (common_grant(token, own) for token in identity.desk.grants for own in identity.grants)
    return tuple(dict.fromkeys(grant for grant in both if grant is not None))


def common_grant(one: Grant, other: Grant) -> Grant | None:
    """What two grants both allow; None: nothing.

    One for projects and one without have nothing in common, since they hold for different paths; nor have two
    for projects of which none, or no account, is in both.
    """
    scopes = tuple(scope for scope in one.scopes if scope in other.scopes)
    if not scopes or bool(one.projects) != bool(other.projects):
        return None
    accounts, projects = _common(one.accounts, other.accounts), _common(one.projects, other.projects)
    if one.projects and not (accounts and projects):
        return None
    return Grant(scopes, accounts, projects)


def _common(one: tuple[str, ...], other: tuple[str, ...]) -> tuple[str, ...]:
    if EVERY in one:
        return other
    held = frozenset(other)
    return one if EVERY in held else tuple(name for name in one if name in held)


def _authorize_by_desk(
    identity: Identity, request: tuple[str, str | None, str | None], purpose: str | None
) -> Grant | Refusal:
    """The purpose, and two decisions: the token must allow it, and the workload that it is of."""
    desk = identity.desk
    has_purpose = None if desk is None else desk.purpose
    if has_purpose != purpose:
        needed = "needs a token without a purpose" if purpose is None else f"is for the purpose {purpose}"
        given = "has none" if has_purpose is None else f"is for {has_purpose}"
        return Refusal(Reason.WRONG_PURPOSE, f"The request {needed}, and the token {given}.")
    # As if the workload's own token had been presented; then as if it held no more than the desk's.
    plain = msgspec.structs.replace(identity, desk=None)
    own = authorize(plain, *request)
    if desk is None or isinstance(own, Refusal):
        return own
    by_token = authorize(msgspec.structs.replace(plain, grants=desk.grants), *request)
    if isinstance(by_token, Refusal):
        detail = by_token.sentence().replace("is not granted", "is not in the token", 1)
        if by_token.reason is Reason.INSUFFICIENT_SCOPE:
            detail = f"The route requires the scope {request[0]}, which is not in the token."
        return Refusal(Reason.NOT_IN_TOKEN, f"{detail} The workload itself may do this.")
    both = common_grant(by_token, own)
    return both if both is not None else Refusal(Reason.NOT_IN_TOKEN)


def _holds_account(grant: Grant, account: str | None, project: str | None) -> bool:
    if account is None:
        # A project is one of an account; without knowing which, no grant can be right.
        return project is None
    return account in grant.accounts or EVERY in grant.accounts


def _holds_project(grant: Grant, project: str | None) -> bool:
    if project is None:
        return not grant.projects
    return project in grant.projects or EVERY in grant.projects


def _refusal(
    identity: Identity, holding: list[Grant], scope: str, account: str | None, project: str | None
) -> Refusal:
    wanted = " and ".join(
        f"{kind} {quoted(name)}"
        for kind, name in (("account", account), ("project", project))
        if name is not None
    )
    detail = f"The scope {scope} is not granted for {wanted or 'a path without an account'}."
    of_account = [grant for grant in holding if account is None or _holds_account(grant, account, project)]
    owner = (
        "The service's owner adds the {} to the grant of this scope, in spec.grants of the TrustedWorkload"
    )
    if project is None and any(grant.projects and _holds_account(grant, account, None) for grant in holding):
        detail = f"The scope {scope} is granted for projects only, and this request names none."
        hint = _ADD_ACCOUNT_WIDE
    elif account is None:
        hint = "The service's owner routes {account} together with {project}: a project is one of an account."
    elif project is not None and any(not grant.projects for grant in of_account):
        hint = _ADD_PROJECT
    elif project is not None and of_account:
        held = {each for grant in of_account for each in grant.projects}
        hint = f"{owner.format('project')} {identity.workload}; it names the projects {_listed(held)} there."
    else:
        held = {each for grant in holding for each in grant.accounts}
        named = f"the accounts {_listed(held)}" if held else "no account"
        hint = f"{owner.format('account')} {identity.workload}; it names {named} there."
    return Refusal(Reason.ACCOUNT_NOT_GRANTED, detail, hint)


def _listed(names: Iterable[str]) -> str:
    """Names of grants, as many as an answer has room for."""
    ordered = sorted(names)
    shown = ", ".join(each[:_NAME_CHARACTERS] for each in ordered[:_LISTED])
    return shown if len(ordered) <= _LISTED else f"{shown} and {len(ordered) - _LISTED} more"


def account_wide_scopes(routes: Iterable[RouteLike]) -> frozenset[str]:
    """The scopes that some path without a project asks for, the gate's own usage endpoints among them."""
    return USAGE_SCOPES.union(
        route.scope for route in routes if route.scope is not None and not names_project(route)
    )


def grants_of_previous_release(
    rows: Iterable[tuple[BundleGrant, ...]], routes: Iterable[RouteLike]
) -> tuple[tuple[BundleGrant, ...], ...]:
    """A bundle's grants for gates of the previous release, which read a grant for projects as wider.

    Such a gate lets `projects: [ios]` pass on paths without a project. So a grant for projects keeps only the
    scopes that nothing but paths with a project asks for: on those paths both releases decide alike. A
    grant that keeps none is left out; grants without projects mean the same to both and stay as they are.

    Args:
        rows: the lists of grants that workloads point to.
        routes: of the service. They are read once, however many rows there are.

    Returns:
        As many rows, in the same order.
    """
    held = tuple(routes)
    account_wide = account_wide_scopes(held)
    of_projects = {
        route.scope for route in held if route.scope is not None and names_project(route)
    } - account_wide
    return tuple(_kept(row, of_projects) for row in rows)


def _kept(grants: tuple[BundleGrant, ...], of_projects: Set[str]) -> tuple[BundleGrant, ...]:
    kept: list[BundleGrant] = []
    for grant in grants:
        scopes = tuple(scope for scope in grant.scopes if scope in of_projects)
        if not grant.projects:
            kept.append(grant)
        elif scopes:
            kept.append(BundleGrant(scopes=scopes, accounts=grant.accounts, projects=grant.projects))
    return tuple(kept)
