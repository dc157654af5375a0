# SPDX-License-Identifier: Apache-2.0
"""A token that a provider of agents signed: taken apart, matched with a provider's key, and verified.

Pure. Nothing that it says is used before its signature holds, but for `iss` and `kid`, which choose whose
keys are tried. Why one was not verified is never told apart to the caller: which providers a desk trusts is
no stranger's to find out. Who has a provider's signature on it is told what else is wrong with its form.
"""

from typing import Any, Final

import msgspec

from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.agents.providers import IdentityProvider
from watchword.identity import ALGORITHMS, EncodingError, Key, Refusal, parse_json_object
from watchword.identity.checks import REFUSED_HEADERS
from watchword.identity.compact import UnverifiedToken, parse_compact
from watchword.identity.signature import signature_holds

# What clocks may differ by, in seconds.
SKEW_SECONDS: Final = 60
MAX_ID: Final = 256
MAX_SUBJECT: Final = 255


class ProviderToken(msgspec.Struct, frozen=True):
    """A token whose signature is a provider's. Its repr shows whose, and nothing that it says."""

    provider: IdentityProvider
    key: Key
    claims: dict[str, Any]

    def __repr__(self) -> str:
        return f"ProviderToken({self.provider!r})"


class Unverified(msgspec.Struct, frozen=True):
    """Why a token is not taken for a provider's.

    Attributes:
        why: for the audit log.
        is_other_type: whether it says that it is something else.
        told: what is wrong with the form of one that a provider did sign, as a sentence; empty: none did.
        remedy: what helps then.
    """

    why: str
    is_other_type: bool = False
    told: str = ""
    remedy: str = ""


def read_provider_token(token: str, kind: str, policy: AgentPolicy) -> ProviderToken | Unverified:
    """Verify a token's signature. Never raises for bad input.

    Args:
        token: the compact JWS.
        kind: what its header must say as `typ`, exactly.
        policy: the desk's; a suspended provider is among its providers, which the caller judges.
    """
    unverified = parse_compact(token.encode("utf-8", "replace"))
    if isinstance(unverified, Refusal):
        return Unverified("it is no compact JWS")
    header = unverified.header
    if header.get("typ") != kind:
        return Unverified("its typ is another one", is_other_type=True)
    if header.get("alg") not in ALGORITHMS:
        return Unverified("its alg is none that is taken")
    if not REFUSED_HEADERS.isdisjoint(header):
        told = f"The header has {min(REFUSED_HEADERS.intersection(header))}, which is never honored."
        return _ill_formed(
            unverified, policy, told, "Have the provider sign one whose header has alg, typ, kid."
        )
    try:
        claims = parse_json_object(unverified.payload)
    except EncodingError as problem:
        remedy = "Have the provider send one JSON object in UTF-8, with each claim once."
        return _ill_formed(unverified, policy, f"The payload is {problem}.", remedy)
    issuer = claims.get("iss")
    provider = policy.providers.get(issuer) if isinstance(issuer, str) else None
    if provider is None:
        return Unverified("no AgentProvider has its iss")
    key = _signing_key(unverified, provider)
    if key is not None:
        return ProviderToken(provider, key, claims)
    return Unverified(f"no key of the AgentProvider {provider.name} signed it")


def is_identifier(text: str, longest: int) -> bool:
    """Whether a text can be stored and compared as someone's name: not empty, bounded, printable."""
    return 1 <= len(text) <= longest and text.isprintable()


def _ill_formed(token: UnverifiedToken, policy: AgentPolicy, told: str, remedy: str) -> Unverified:
    """A token whose form is wrong; it is told to those who hold one that a provider of the desk signed."""
    trusted = (each for each in policy.providers.values() if not each.is_suspended)
    if any(_signing_key(token, each) is not None for each in trusted):
        return Unverified(told, told=told, remedy=remedy)
    return Unverified(told)


def _signing_key(token: UnverifiedToken, provider: IdentityProvider) -> Key | None:
    """The key of a provider that signed a token; None: none did."""
    fitting = _fitting(token.header, provider)
    return next((each for each in fitting if signature_holds(each, token.signed, token.signature)), None)


def _fitting(header: dict[str, Any], provider: IdentityProvider) -> tuple[Key, ...]:
    """The keys that may have signed: of this kid, or the only one there is where none is named."""
    algorithm, kid = header["alg"], header.get("kid")
    if algorithm not in provider.algorithms:
        return ()
    is_only = "kid" not in header and len(provider.keys) == 1
    return tuple(key for key in provider.keys if key.algorithm == algorithm and (is_only or key.kid == kid))
