# SPDX-License-Identifier: Apache-2.0
"""A token that a provider of agents signed: taken apart, matched with a provider's key, and verified.

Pure. Nothing that it says is used before its signature holds, but for `iss` and `kid`, which choose whose
keys are tried. Why one was not verified is never told apart to the caller: which providers a desk trusts is
no stranger's to find out.
"""

from typing import Any, Final

import msgspec

from watchword.desk.agents.policy import AgentPolicy
from watchword.desk.agents.providers import IdentityProvider
from watchword.identity import ALGORITHMS, EncodingError, Key, Refusal, parse_json_object
from watchword.identity.checks import REFUSED_HEADERS
from watchword.identity.compact import parse_compact
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
    """Why a token is no provider's, for the audit log; `is_other_type`: it says that it is something else."""

    why: str
    is_other_type: bool = False


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
    algorithm = header.get("alg")
    if not REFUSED_HEADERS.isdisjoint(header) or algorithm not in ALGORITHMS:
        return Unverified("its header asks for something that is never done")
    try:
        claims = parse_json_object(unverified.payload)
    except EncodingError:
        return Unverified("its payload is no JSON object with unique names")
    issuer = claims.get("iss")
    provider = policy.providers.get(issuer) if isinstance(issuer, str) else None
    if provider is None:
        return Unverified("no AgentProvider has its iss")
    for key in _fitting(header, provider):
        if signature_holds(key, unverified.signed, unverified.signature):
            return ProviderToken(provider, key, claims)
    return Unverified(f"no key of the AgentProvider {provider.name} signed it")


def is_identifier(text: str, longest: int) -> bool:
    """Whether a text can be stored and compared as someone's name: not empty, bounded, printable."""
    return 1 <= len(text) <= longest and text.isprintable()


def _fitting(header: dict[str, Any], provider: IdentityProvider) -> tuple[Key, ...]:
    """The keys that may have signed: of this kid, or the only one there is where none is named."""
    algorithm, kid = header["alg"], header.get("kid")
    if algorithm not in provider.algorithms:
        return ()
    is_only = "kid" not in header and len(provider.keys) == 1
    return tuple(key for key in provider.keys if key.algorithm == algorithm and (is_only or key.kid == kid))
