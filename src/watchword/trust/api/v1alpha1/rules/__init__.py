# SPDX-License-Identifier: Apache-2.0
"""What the fields of one resource must agree on, as findings: the path, what is wrong, what is right.

These are the rules that a CRD states in CEL (`watchword.trust.crd.cel`), and the few that CEL cannot. A
resource that breaks one is left out, never repaired.
"""

from watchword.trust.api.v1alpha1.rules.agent_provider import findings_of_provider
from watchword.trust.api.v1alpha1.rules.desk import (
    findings_of_client,
    findings_of_client_name,
    findings_of_desk,
    findings_of_nulls,
)
from watchword.trust.api.v1alpha1.rules.issuer import findings_of_issuer
from watchword.trust.api.v1alpha1.rules.service import findings_of_service
from watchword.trust.api.v1alpha1.rules.times import parse_time
from watchword.trust.api.v1alpha1.rules.workload import findings_of_workload

__all__ = [
    "findings_of_client",
    "findings_of_client_name",
    "findings_of_desk",
    "findings_of_issuer",
    "findings_of_nulls",
    "findings_of_provider",
    "findings_of_service",
    "findings_of_workload",
    "parse_time",
]
