# SPDX-License-Identifier: Apache-2.0
"""The subject of a ServiceAccount token, taken apart only when it is exactly well-formed.

Names are compared whole, never as patterns: `cert-manager.io` is not `cert-managerXio` (CVE-2026-39350), and
a colon inside a name would move the border between namespace and name.
"""

import re
from typing import Final

import msgspec

_PREFIX: Final = "system:serviceaccount:"
# Kubernetes names: a namespace is a DNS label (RFC 1123), a ServiceAccount's name a DNS subdomain.
_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAMESPACE: Final = re.compile(_LABEL)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_NAME_PARTS: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


class Subject(msgspec.Struct, frozen=True, gc=False):
    """A ServiceAccount of some issuer.

    Attributes:
        namespace: its namespace.
        name: its name.
    """

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{_PREFIX}{self.namespace}:{self.name}"


def is_namespace_name(text: str) -> bool:
    """Whether the text can be the name of a namespace (a DNS label, at most 63 characters)."""
    return _NAMESPACE.fullmatch(text) is not None


def is_service_account_name(text: str) -> bool:
    """Whether the text can be the name of a ServiceAccount (a DNS subdomain, at most 253 characters)."""
    return _NAME.fullmatch(text) is not None and _NAME_PARTS.fullmatch(text) is not None


def parse_subject(text: str) -> Subject | None:
    """Parse `system:serviceaccount:<namespace>:<name>` (Kubernetes, "Authenticating").

    Returns:
        The subject, or None when the text is anything else.
    """
    if not text.startswith(_PREFIX):
        return None
    namespace, colon, name = text[len(_PREFIX) :].partition(":")
    if not colon or not is_namespace_name(namespace) or not is_service_account_name(name):
        return None
    return Subject(namespace, name)
