# SPDX-License-Identifier: Apache-2.0
"""May this identity do that? Whole names only, and one grant must hold everything that the request needs.

Adding up grants would let a scope for one account meet an account of another scope; a prefix would let
`prj_abc` open `prj_abcd`.
"""

from typing import Final

from watchword.identity import Grant, Identity, Reason, Refusal

EVERY: Final = "*"


def authorize(
    identity: Identity, scope: str, account: str | None = None, project: str | None = None
) -> Grant | Refusal:
    """Find the grant that permits a request (check 16).

    Args:
        identity: who is calling.
        scope: the scope that the route requires.
        account: the account that the request is about; None: none.
        project: the project that the request is about; None: none.

    Returns:
        The first grant that holds the scope and, where the request names them, the account and the project;
        or `insufficient_scope`, or `account_not_granted`.
    """
    holding = [grant for grant in identity.grants if scope in grant.scopes]
    if not holding:
        detail = f"The route requires the scope {scope}."
        return Refusal(Reason.INSUFFICIENT_SCOPE, detail)
    for grant in holding:
        if _holds(grant.accounts, account) and _holds(grant.projects, project):
            return grant
    wanted = " and ".join(
        f"{kind} {name!a}" for kind, name in (("account", account), ("project", project)) if name is not None
    )
    return Refusal(Reason.ACCOUNT_NOT_GRANTED, f"The scope {scope} is not granted for {wanted}.")


def _holds(granted: tuple[str, ...], wanted: str | None) -> bool:
    return wanted is None or wanted in granted or EVERY in granted
