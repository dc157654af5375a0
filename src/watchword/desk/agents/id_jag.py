# SPDX-License-Identifier: Apache-2.0
"""An identity assertion of a provider (ID-JAG): whom an agent acts for, as its provider says.

Pure. draft-ietf-oauth-identity-assertion-authz-grant, sections 3 and 4, narrowed by what `auth.md` 0.7 adds:
`auth_time` is required, and an address counts only with `email_verified`.
"""

import re
from typing import Any, Final

import msgspec

from watchword.desk.agents.policy import AgentPolicy, read_address
from watchword.desk.agents.provider_tokens import (
    MAX_ID,
    MAX_SUBJECT,
    SKEW_SECONDS,
    Unverified,
    is_identifier,
    read_provider_token,
)
from watchword.desk.agents.providers import IdentityProvider
from watchword.desk.agents.reasons import AgentReason
from watchword.desk.refusals import DeskRefusal, refuse

ID_JAG_TYPE: Final = "oauth-id-jag+jwt"
ID_JAG_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:id-jag"  # noqa: S105 - a name, not a secret
# How long one may live, in seconds.
MAX_SECONDS: Final = 3600
# What would bound the agent, or name another person, in ways that are not looked at here.
_NOT_HONORED: Final = ("authorization_details", "tenant", "aud_tenant")
_UNSET: Final = msgspec.UNSET
_Time = int | float
# What each claim has to be, for people.
_FORMS: Final = {
    **dict.fromkeys(("sub", "client_id", "jti", "email"), "a text"),
    **dict.fromkeys(("iat", "exp", "nbf", "auth_time"), "a number of seconds since the epoch"),
    **dict.fromkeys(("aud", "resource"), "a text, or a list of one text"),
    "email_verified": "true or false, which is not a text",
    "scope": "a text, with one space between two scopes",
}


class IdJag(msgspec.Struct, frozen=True, kw_only=True):
    """What a verified ID-JAG says. Its repr shows its provider only.

    Attributes:
        provider: who signed it.
        origin: the provider's subject, as the store has it.
        signed_by: the thumbprint of the key that signed it.
        client_id: which agent it is for.
        token_id: its `jti`.
        expires_at: when it ends, in seconds since the epoch.
        address: the person's verified address; empty: it says none.
        scope: what the agent may do at most, with single spaces; None: it does not say.
    """

    provider: IdentityProvider
    origin: str
    signed_by: str
    client_id: str
    token_id: str
    expires_at: float
    address: str = ""
    scope: str | None = None

    def __repr__(self) -> str:
        return f"IdJag({self.provider!r})"


class _Claims(msgspec.Struct, frozen=True):
    sub: str
    aud: str | list[str]
    client_id: str
    jti: str
    iat: _Time
    exp: _Time
    nbf: _Time | msgspec.UnsetType = _UNSET
    auth_time: _Time | msgspec.UnsetType = _UNSET
    email: str | msgspec.UnsetType = _UNSET
    email_verified: bool | msgspec.UnsetType = _UNSET
    scope: str | msgspec.UnsetType = _UNSET
    resource: str | list[str] | msgspec.UnsetType = _UNSET


def read_id_jag(token: str, policy: AgentPolicy, issuer: str, now: float) -> IdJag | DeskRefusal:
    """Read an ID-JAG, once all of it holds. Never raises for bad input.

    Args:
        token: the compact JWS.
        policy: the desk's.
        issuer: the desk's own.
        now: seconds since the epoch.
    """
    found = read_provider_token(token, ID_JAG_TYPE, policy)
    if isinstance(found, Unverified) and found.told:
        return refuse(AgentReason.MALFORMED_ASSERTION, found.told, remedy=found.remedy)
    if isinstance(found, Unverified):
        reason = AgentReason.WRONG_ASSERTION_TYPE if found.is_other_type else AgentReason.UNVERIFIED_ASSERTION
        return refuse(reason, internal=found.why)
    provider = found.provider
    if provider.is_suspended:
        why = f"the AgentProvider {provider.name} is suspended"
        return refuse(AgentReason.UNVERIFIED_ASSERTION, internal=why)
    # Proven from here on: it is the provider's own words that are quoted, and to those who hold them.
    claims = _claims(found.claims)
    if isinstance(claims, DeskRefusal):
        return claims
    audiences = claims.aud if isinstance(claims.aud, list) else [claims.aud]
    if audiences != [provider.audience]:
        return refuse(AgentReason.WRONG_ASSERTION_AUDIENCE)
    if claims.client_id not in provider.client_ids:
        return refuse(AgentReason.CLIENT_NOT_ENABLED)
    if (refused := _refused_times(claims, now)) is not None:
        return refused
    if (refused := _refused_bounds(found.claims, claims, issuer)) is not None:
        return refused
    if (refused := _refused_sign_in(claims, provider, now)) is not None:
        return refused
    address = _address(claims, provider)
    if isinstance(address, DeskRefusal):
        return address
    scope = claims.scope
    return IdJag(
        provider=provider,
        origin=provider.origin_of(claims.sub),
        signed_by=found.key.thumbprint,
        client_id=claims.client_id,
        token_id=claims.jti,
        expires_at=float(claims.exp),
        address=address,
        scope=None if scope is _UNSET else " ".join(sorted(set(str(scope).split(" ")) - {""})),
    )


def _claims(found: dict[str, Any]) -> _Claims | DeskRefusal:
    try:
        claims = msgspec.convert(found, _Claims)
    except msgspec.ValidationError as problem:
        return _refused_form(str(problem), found)
    for name, value, longest in (("sub", claims.sub, MAX_SUBJECT), ("jti", claims.jti, MAX_ID)):
        if not is_identifier(value, longest):
            detail = f"The assertion's {name} is not a name of 1 to {longest} printable characters."
            return refuse(
                AgentReason.MALFORMED_ASSERTION, detail, remedy=f"Have the provider send such a {name}."
            )
    return claims


def _refused_form(problem: str, found: dict[str, Any]) -> DeskRefusal:
    """The refusal that names the claim, by what the conversion of the claims found."""
    for name, form in _FORMS.items():
        if f"required field `{name}`" in problem:
            detail = f"The assertion has no {name}."
        elif name in found and re.search(rf"`\$\.{name}[`\[]", problem):
            detail = f"The assertion's {name} is not {form}."
        else:
            continue
        remedy = f"Have the provider send {name} as {form}."
        return refuse(AgentReason.MALFORMED_ASSERTION, detail, remedy=remedy)
    return refuse(AgentReason.MALFORMED_ASSERTION)


def _refused_times(claims: _Claims, now: float) -> DeskRefusal | None:
    if claims.exp <= claims.iat or claims.exp - claims.iat > MAX_SECONDS:
        detail = f"The assertion's exp is not 1 to {MAX_SECONDS} seconds after its iat."
        return refuse(AgentReason.ASSERTION_NOT_IN_TIME, detail)
    if claims.exp + SKEW_SECONDS <= now:
        return refuse(AgentReason.ASSERTION_NOT_IN_TIME, "The assertion has ended.")
    begins = claims.iat if isinstance(claims.nbf, msgspec.UnsetType) else max(claims.iat, claims.nbf)
    if begins > now + SKEW_SECONDS:
        return refuse(AgentReason.ASSERTION_NOT_IN_TIME, "The assertion is of the future.")
    return None


def _refused_bounds(found: dict[str, Any], claims: _Claims, issuer: str) -> DeskRefusal | None:
    """What binds the assertion to something that the desk does not check: then it proves too little."""
    if "cnf" in found:
        return refuse(AgentReason.KEY_BOUND_ASSERTION)
    for name in _NOT_HONORED:
        if name in found:
            detail = f"The assertion says {name}, which this desk does not honor."
            return refuse(AgentReason.ASSERTION_BOUND_OTHERWISE, detail)
    if claims.resource is not _UNSET:
        resources = claims.resource if isinstance(claims.resource, list) else [claims.resource]
        if resources != [issuer]:
            detail = "The assertion's resource is not the desk's issuer alone."
            return refuse(AgentReason.ASSERTION_BOUND_OTHERWISE, detail)
    return None


def _refused_sign_in(claims: _Claims, provider: IdentityProvider, now: float) -> DeskRefusal | None:
    signed_in = claims.auth_time
    if isinstance(signed_in, msgspec.UnsetType):
        detail = "The assertion does not say when the person signed in (auth_time)."
    elif signed_in > now + SKEW_SECONDS:
        detail = "The assertion says that the person will sign in (auth_time)."
    elif now - signed_in > provider.max_auth_age_seconds:
        detail = "The person signed in too long ago (auth_time)."
    else:
        return None
    return refuse(AgentReason.LOGIN_REQUIRED, detail, max_age=provider.max_auth_age_seconds)


def _address(claims: _Claims, provider: IdentityProvider) -> str | DeskRefusal:
    """The person's address; empty: there is none. One that is there must be verified, and of its domains."""
    if claims.email is _UNSET:
        return ""
    address = read_address(claims.email)
    if claims.email_verified is not True or address is None:
        return refuse(AgentReason.MISSING_VERIFIED_EMAIL)
    if address.rpartition("@")[2] not in provider.domains:
        return refuse(AgentReason.DOMAIN_NOT_OF_PROVIDER)
    return address
