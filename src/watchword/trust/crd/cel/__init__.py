# SPDX-License-Identifier: Apache-2.0
"""What the API server refuses on its own: the rules of `rules`, said in CEL, with what would be right.

A mistake that is refused as it is made costs a second; the same one found by the operator costs a condition
that someone has to read. The bounds on lists and texts keep these rules within the API server's budget.
"""

from typing import Final

from watchword.trust.crd.cel.agent_provider import PROVIDER_RULES
from watchword.trust.crd.cel.agents import AGENT_RULES
from watchword.trust.crd.cel.desk import DESK_RULES
from watchword.trust.crd.cel.fields import FIELD_RULES
from watchword.trust.crd.cel.issuer import ISSUER_RULES
from watchword.trust.crd.cel.rule import Rule
from watchword.trust.crd.cel.service import SERVICE_RULES
from watchword.trust.crd.cel.workload import WORKLOAD_RULES

RULES: Final = (
    *FIELD_RULES,
    *ISSUER_RULES,
    *SERVICE_RULES,
    *WORKLOAD_RULES,
    *DESK_RULES,
    *AGENT_RULES,
    *PROVIDER_RULES,
)

__all__ = ["RULES", "Rule", "rules_at"]


def rules_at(place: str) -> tuple[Rule, ...]:
    """The rules that are asked at one place."""
    return tuple(rule for rule in RULES if rule.place == place)
