# SPDX-License-Identifier: Apache-2.0
"""Names and texts that are safe wherever they end up: in a header, a log line, a path of two names.

An API server would refuse a name such as `a/b` or one with a line break; a folder of manifests and a bundle
never met one. And the `$` of a pattern still matches before a last line break, so a pattern alone does not
keep it out.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from watchword.identity import is_namespace_name, is_service_account_name
from watchword.trust.api.v1alpha1.validation import Finding

# The name of a service, or of a desk, is also the value of a label and part of other objects' names.
MAX_SERVICE_NAME: Final = 63
# Judged by who reads them: keys one by one, certificates as PEM.
_READ_ELSEWHERE: Final = ("spec.keys.inline", "spec.keys.discovery.caBundle", "spec.authentication.jwks")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def is_object_name(text: str) -> bool:
    """Whether the text can be an object's name (Kubernetes, "Object Names and IDs": a DNS subdomain)."""
    # A ServiceAccount's name has the very same grammar.
    return is_service_account_name(text)


def findings_of_names(kind: str, namespace: str, name: str) -> Iterator[Finding]:
    """What is wrong with the names in an object's metadata."""
    if not is_object_name(name):
        remedy = "use lower-case letters, digits, `-` and `.`, at most 253 characters"
        yield "metadata.name", "not the name of an object", remedy
    if kind in {"ProtectedService", "TokenDesk"} and len(name) > MAX_SERVICE_NAME:
        yield "metadata.name", f"it has {len(name)} characters", f"use at most {MAX_SERVICE_NAME}"
    if namespace and not is_namespace_name(namespace):
        remedy = "use lower-case letters, digits and `-`, at most 63 characters"
        yield "metadata.namespace", "not the name of a namespace", remedy


def has_control_character(text: str) -> bool:
    """Whether the text holds what could end a line or a header (C0, C1, Unicode line ends)."""
    return _CONTROL.search(text) is not None


def findings_of_texts(path: str, value: Any) -> Iterator[Finding]:
    """Each text with a control character in it, at any depth.

    Args:
        path: where the value stands, such as `spec`.
        value: built-in values, as `msgspec.to_builtins` gives them.
    """
    if path in _READ_ELSEWHERE:
        return
    if isinstance(value, str):
        if has_control_character(value):
            yield path, "it holds a control character, such as a line break", "write it on one line, plainly"
    elif isinstance(value, dict):
        for name, member in value.items():
            if has_control_character(name):
                yield path, "a name in it holds a control character", "write it on one line, plainly"
            else:
                yield from findings_of_texts(f"{path}.{name}", member)
    elif isinstance(value, (list, tuple)):
        for place, member in enumerate(value):
            yield from findings_of_texts(f"{path}[{place}]", member)
