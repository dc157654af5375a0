# SPDX-License-Identifier: Apache-2.0
"""Rules on a TrustedWorkload: whole names, and "all" only where it is written out."""

from typing import Final

from watchword.trust.cel.issuer import IS_TIME, TIME_REMEDY
from watchword.trust.cel.rule import Rule, lacks, named
from watchword.trust.grammar import NAMESPACE, OBJECT_NAME

_HOLDERS: Final = ("GrantSpec.accounts", "GrantSpec.projects")

WORKLOAD_RULES: Final = (
    named(
        "ServiceAccountName.namespace",
        NAMESPACE,
        "a namespace",
        "name one namespace, whole; patterns are not supported",
    ),
    named(
        "ServiceAccountName.name",
        OBJECT_NAME,
        "a ServiceAccount",
        "name one ServiceAccount, whole; patterns are not supported",
    ),
    *(
        Rule(
            f"{place}[]",
            "self == '*' || " + lacks(r"[*,\p{C}\p{Zl}\p{Zp}]"),
            "a pattern, a comma, or a character that does not print",
            'use whole names, or "*" alone for all',
        )
        for place in _HOLDERS
    ),
    *(
        Rule(
            place,
            "self.size() <= 1 || !('*' in self)",
            '"*" stands beside names',
            'use "*" alone, or only names',
        )
        for place in _HOLDERS
    ),
    Rule("WorkloadSpec.expires", IS_TIME, "not a time", TIME_REMEDY),
)
