# SPDX-License-Identifier: Apache-2.0
"""Rules on what all kinds share: labels, references and NetworkPolicy peers.

What the NetworkPolicy API would refuse later has to be refused here: the operator writes the policy, and its
author would never see that answer.
"""

from typing import Final

from watchword.trust.api.v1alpha1.grammar import LABEL_NAME, LABEL_VALUE, NETWORK, OBJECT_NAME
from watchword.trust.crd.cel.rule import Rule, is_whole, named

_NAME_REMEDY: Final = "use lower-case letters, digits, `-` and `.`"
_CIDR_REMEDY: Final = "use a network such as 10.20.0.0/16"
# `masked` of a text that is no CIDR would be an error, so each rule asks that first.
_IS_NETWORK: Final = f"{is_whole(NETWORK)} && isCIDR(self) && cidr(self).masked() == cidr(self)"

FIELD_RULES: Final = (
    Rule(
        "LabelSelector.matchLabels",
        f"self.all(name, {is_whole(LABEL_NAME, 'name')} && name.indexOf('/') <= 253 "
        f"&& {is_whole(LABEL_VALUE, 'self[name]')})",
        "not labels",
        "use names such as app.kubernetes.io/name, and values of letters, digits, `-`, `_` and `.`",
    ),
    named("ServiceName.name", OBJECT_NAME, "an object", _NAME_REMEDY),
    named("IssuerName.name", OBJECT_NAME, "an object", _NAME_REMEDY),
    Rule(
        "Peer",
        "has(self.ipBlock) || has(self.namespaceSelector) || has(self.podSelector)",
        "the peer is empty",
        "give ipBlock, or namespaceSelector and podSelector",
    ),
    Rule(
        "Peer",
        "!(has(self.ipBlock) && (has(self.namespaceSelector) || has(self.podSelector)))",
        "ipBlock is given together with selectors",
        "use one or the other",
    ),
    Rule("IpBlock.cidr", _IS_NETWORK, "not a CIDR, or one with host bits set", _CIDR_REMEDY),
    Rule("IpBlock.except[]", _IS_NETWORK, "not a CIDR, or one with host bits set", _CIDR_REMEDY),
    Rule(
        "IpBlock",
        "!has(self.except) || !isCIDR(self.cidr) || self.except.all(inner, !isCIDR(inner) || "
        "(cidr(self.cidr).containsCIDR(inner) "
        "&& cidr(inner).prefixLength() > cidr(self.cidr).prefixLength()))",
        "an exception is not inside cidr",
        "list networks within cidr, and smaller than it, only",
        ".except",
    ),
)
