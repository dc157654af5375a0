# SPDX-License-Identifier: Apache-2.0
"""The fields of an AgentProvider: whose word a desk takes for which person an agent acts for.

None is trusted by default, and one that is speaks for no one by itself: its assertions (ID-JAG) lead to the
claim page first, where the person decides.
"""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from watchword.trust.api.v1alpha1.desk import DeskName
from watchword.trust.api.v1alpha1.fields import DAY_SECONDS, SET, Algorithm, Spec, Url
from watchword.trust.api.v1alpha1.issuer import JWKS

MAX_PROVIDER_CLIENTS: Final = 16
MAX_PROVIDER_DOMAINS: Final = 64
PROVIDER_ALGORITHMS: Final[tuple[Algorithm, ...]] = ("RS256", "ES256")


class ProviderDiscovery(Spec, frozen=True):
    """The operator finds the keys by OpenID discovery from the issuer's URL. It has no fields."""


class ProviderKeys(Spec, frozen=True):
    """Where a provider's keys come from: exactly one of these."""

    inline: Annotated[
        Annotated[dict[str, Any], Meta(extra_json_schema=JWKS)] | None,
        Meta(description="The public keys themselves, as a JWKS (RFC 7517)."),
    ] = None
    discovery: Annotated[
        ProviderDiscovery | None,
        Meta(
            description="The JWKS that the issuer's discovery document names, on the same host, over HTTPS "
            "and never at an address of the operator's own machine. A key that the provider no longer "
            "serves counts no more; where it cannot be asked, the last keys count for 24 hours."
        ),
    ] = None


class AgentProviderSpec(Spec, frozen=True):
    """Someone whose agents may ask a person for leave to act, and who says which person that is."""

    desk_ref: Annotated[DeskName, Meta(description="The TokenDesk, in the namespace of this object.")]
    issuer: Annotated[
        Url,
        Meta(
            description="The provider's issuer identifier, byte for byte as its assertions say `iss`. One "
            "AgentProvider of a desk has it; where two have it, neither counts."
        ),
    ]
    display_name: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=64,
            description="What people see on the claim page. It is yours to choose: no token says it.",
        ),
    ]
    keys: Annotated[ProviderKeys, Meta(description="Where its keys come from: exactly one way.")]
    client_ids: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
        Meta(
            min_length=1,
            max_length=MAX_PROVIDER_CLIENTS,
            extra_json_schema=SET,
            description="The values of `client_id` that are taken, whole: which of the provider's agents may "
            "come here.",
        ),
    ] = msgspec.field(name="clientIDs")
    algorithms: Annotated[
        Annotated[tuple[Algorithm, ...], Meta(min_length=1, max_length=4, extra_json_schema=SET)] | None,
        Meta(description="Signature algorithms that are taken (RFC 7518). Default: RS256 and ES256."),
    ] = None
    audience: Annotated[
        Url | None,
        Meta(
            description="What its assertions must say as their only `aud`, byte for byte. Absent: the desk's "
            "issuer."
        ),
    ] = None
    email_domains: Annotated[
        tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...],
        Meta(
            max_length=MAX_PROVIDER_DOMAINS,
            extra_json_schema=SET,
            description="The domains whose people it may name, whole, in lower case, as A-labels (RFC "
            "5890); subdomains are others. None by default: then it can name no one.",
        ),
    ] = ()
    max_auth_age_seconds: Annotated[
        int,
        Meta(
            ge=60,
            le=DAY_SECONDS,
            description="How long ago the person may have signed in there (`auth_time`), in seconds. "
            "Default: 3600.",
        ),
    ] = 3600
    suspended: Annotated[
        bool,
        Meta(
            description="true: its assertions are refused, and agents that came by it get no token. What it "
            "says is revoked is still ended. Default: false."
        ),
    ] = False

    @property
    def allowed_algorithms(self) -> frozenset[str]:
        """The algorithms that are taken."""
        return frozenset(PROVIDER_ALGORITHMS if self.algorithms is None else self.algorithms)
