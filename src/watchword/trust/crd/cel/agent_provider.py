# SPDX-License-Identifier: Apache-2.0
"""Rules on an AgentProvider.

A private key that was written into one would be read by all who may read the object; it is refused before it
is ever stored.
"""

from typing import Final

from watchword.identity.jwk import PRIVATE_MEMBERS
from watchword.trust.api.v1alpha1.grammar import HTTPS_URL, MAIL_DOMAIN
from watchword.trust.api.v1alpha1.rules.agent_provider import (
    ISSUER_REMEDY,
    KEYS_REMEDY,
    NO_KEYS_DETAIL,
    NO_KEYS_REMEDY,
    PRIVATE_DETAIL,
    PRIVATE_REMEDY,
)
from watchword.trust.api.v1alpha1.rules.agents import DOMAIN_REMEDY
from watchword.trust.crd.cel.rule import Rule, is_whole, lacks

# What `str.isprintable` says no to: controls, marks of direction, and separators but for the space.
_UNSEEN: Final = r"\p{C}|[^\P{Z} ]"

PROVIDER_RULES: Final = (
    Rule("AgentProviderSpec.issuer", is_whole(HTTPS_URL), "not an https:// URL", ISSUER_REMEDY),
    *(
        Rule(place, lacks(_UNSEEN), "it holds a character that cannot be seen", "write it plainly")
        for place in (
            "AgentProviderSpec.displayName",
            "AgentProviderSpec.clientIDs[]",
            "AgentProviderSpec.audience",
        )
    ),
    Rule("AgentProviderSpec.emailDomains[]", is_whole(MAIL_DOMAIN), "not a domain", DOMAIN_REMEDY),
    Rule(
        "ProviderKeys",
        "[has(self.inline), has(self.discovery)].filter(given, given).size() == 1",
        "not exactly one key source is given",
        KEYS_REMEDY,
    ),
    Rule(
        "ProviderKeys",
        "!has(self.inline) || self.inline.keys.size() > 0",
        NO_KEYS_DETAIL,
        NO_KEYS_REMEDY,
        ".inline.keys",
    ),
    Rule(
        "ProviderKeys.inline.keys[]",
        "!(" + " || ".join(f"has(self.{member})" for member in sorted(PRIVATE_MEMBERS)) + ")",
        PRIVATE_DETAIL,
        PRIVATE_REMEDY,
    ),
)
