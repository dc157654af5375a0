# SPDX-License-Identifier: Apache-2.0
"""Rules on what a ProtectedService and a TokenDesk say about agents.

That no listed address is of a listed domain is not here: over 256 of them it is past the API server's budget,
and the operator says it in a condition.
"""

from typing import Final

from watchword.trust.api.v1alpha1.grammar import MAIL_ADDRESS, MAIL_DOMAIN, OBJECT_NAME
from watchword.trust.api.v1alpha1.rules.agents import (
    ADDRESS_REMEDY,
    DOMAIN_REMEDY,
    LOOPBACK,
    LOOPBACK_REMEDY,
    MAIL_REMEDY,
    PROVIDER,
    PROVIDER_REMEDY,
    WILDCARD_REMEDY,
)
from watchword.trust.api.v1alpha1.rules.service import AGENTS_REMEDY
from watchword.trust.crd.cel.rule import Rule, is_whole, lacks, named, plain

_OWN: Final = ("UnclaimedAgents.accounts", "AgentPerson.accounts", "AgentDomain.accounts")
_UNFIT: Final = r"[*,\p{C}\p{Zl}\p{Zp}]"

AGENT_RULES: Final = (
    Rule(
        "ServiceSpec",
        "!has(self.agents) || has(self.tokenDeskRef)",
        "agents are a desk's, and the service names none",
        AGENTS_REMEDY,
        ".agents",
    ),
    Rule(
        "AgentCeiling.accounts[]",
        "self == '*' || " + lacks(_UNFIT),
        "a pattern, a comma, or a character that does not print",
        'use whole names, or "*" alone for all',
    ),
    Rule(
        "AgentCeiling.accounts",
        "self.size() <= 1 || !('*' in self)",
        '"*" is given together with names',
        'use "*" alone, or only names',
    ),
    *(
        Rule(
            f"{place}[]",
            lacks(_UNFIT),
            "a wildcard, a comma, or a character that does not print",
            WILDCARD_REMEDY,
        )
        for place in _OWN
    ),
    Rule("AgentPerson.address", is_whole(MAIL_ADDRESS), "not an address", ADDRESS_REMEDY),
    Rule("AgentDomain.domain", is_whole(MAIL_DOMAIN), "not a domain", DOMAIN_REMEDY),
    Rule(
        "AgentDomain.issuer",
        f"{is_whole(PROVIDER)} && !self.endsWith('/')",
        "not the URL of a provider",
        PROVIDER_REMEDY,
    ),
    plain("AgentDomain.clientId"),
    Rule(
        "AgentsSpec",
        "!has(self.people) || self.people.size() == 0 || has(self.mail)",
        "people are listed, and no mail can reach them",
        MAIL_REMEDY,
        ".people",
    ),
    Rule("AgentMail.from", is_whole(MAIL_ADDRESS), "not an address", ADDRESS_REMEDY),
    Rule("AgentMail.host", lacks(r"[\s\p{C}]"), "not the name of a host", "write its name or address"),
    Rule(
        "AgentMail",
        f"!has(self.security) || self.security != 'None' || {is_whole(LOOPBACK, 'self.host')}",
        "mails would leave this machine in plain text",
        LOOPBACK_REMEDY,
        ".security",
    ),
    named("AgentSecret.name", OBJECT_NAME, "an object", "use lower-case letters, digits, `-` and `.`"),
)
