# SPDX-License-Identifier: Apache-2.0
"""Rules on a TrustedWorkload: whole names, and "all" only where it is written out."""

from typing import Final

from watchword.trust.api.v1alpha1.grammar import NAMESPACE, OBJECT_NAME
from watchword.trust.api.v1alpha1.workload import MAX_GRANT_CHARACTERS, MAX_PEER_CHARACTERS
from watchword.trust.crd.cel.issuer import IS_TIME, TIME_REMEDY
from watchword.trust.crd.cel.rule import Rule, lacks, named

_HOLDERS: Final = ("GrantSpec.accounts", "GrantSpec.projects")


def _labels(selector: str) -> str:
    """CEL for the characters of a selector's labels."""
    labels = f"{selector}.matchLabels"
    return f"(has({selector}) ? {labels}.map(name, name.size() + {labels}[name].size()).sum() : 0)"


_EXCEPT: Final = (
    "(has(peer.ipBlock) && has(peer.ipBlock.except) ? peer.ipBlock.except.map(each, each.size()).sum() : 0)"
)

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
            '"*" is given together with names',
            'use "*" alone, or only names',
        )
        for place in _HOLDERS
    ),
    Rule(
        "WorkloadSpec",
        "!has(self.grants) || self.grants.map(grant, grant.scopes.map(name, name.size()).sum() "
        "+ (has(grant.accounts) ? grant.accounts.map(name, name.size()).sum() : 0) "
        "+ (has(grant.projects) ? grant.projects.map(name, name.size()).sum() : 0)).sum() "
        f"<= {MAX_GRANT_CHARACTERS}",
        f"its scopes, accounts and projects have more than {MAX_GRANT_CHARACTERS} characters in all",
        "name fewer, or split the ServiceAccount's work over several",
        ".grants",
    ),
    Rule(
        "WorkloadSpec",
        "!has(self.from) || self.from.map(peer, "
        f"{_labels('peer.namespaceSelector')} + {_labels('peer.podSelector')} + {_EXCEPT}).sum() "
        f"<= {MAX_PEER_CHARACTERS}",
        f"its labels and networks have more than {MAX_PEER_CHARACTERS} characters in all",
        "name fewer: a label that all of the workload's pods have is enough",
        ".from",
    ),
    Rule("WorkloadSpec.expires", IS_TIME, "not a time", TIME_REMEDY),
)
