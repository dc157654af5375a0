# SPDX-License-Identifier: Apache-2.0
"""The subject of a ServiceAccount token, taken apart only when it is exactly well-formed.

Names are compared whole, never as patterns: `cert-manager.io` is not `cert-managerXio` (CVE-2026-39350), and
a colon inside a name would move the border between namespace and name.
"""

import re
from functools import lru_cache
from typing import Final

import msgspec

_PREFIX: Final = "system:serviceaccount:"
# Kubernetes names: a namespace is a DNS label (RFC 1123), a ServiceAccount's name a DNS subdomain.
# Both patterns are also read by RE2, in the API server.
NAMESPACE_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
NAME_PATTERN: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_MAX_NAME_LENGTH: Final = 253
_MAX_SUBJECT_LENGTH: Final = len(_PREFIX) + 63 + 1 + _MAX_NAME_LENGTH
_NAMESPACE: Final = re.compile(NAMESPACE_PATTERN)
_NAME: Final = re.compile(NAME_PATTERN)
_SUBJECT: Final = re.compile(f"{_PREFIX}({NAMESPACE_PATTERN}):({NAME_PATTERN})")


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
    return len(text) <= _MAX_NAME_LENGTH and _NAME.fullmatch(text) is not None


def parse_subject(text: str) -> Subject | None:
    """Parse `system:serviceaccount:<namespace>:<name>` (Kubernetes, "Authenticating").

    Returns:
        The subject, or None when the text is anything else.
    """
    return _parse(text) if len(text) <= _MAX_SUBJECT_LENGTH else None


# The workloads that call are few, and call again.
@lru_cache(maxsize=1024)
def _parse(text: str) -> Subject | None:
    found = _SUBJECT.fullmatch(text)
    if found is None or len(found[2]) > _MAX_NAME_LENGTH:
        return None
    return Subject(found[1], found[2])
