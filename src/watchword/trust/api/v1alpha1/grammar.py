# SPDX-License-Identifier: Apache-2.0
"""The forms of texts in resources, each written once for Python's `re` and for the API server's RE2.

Two regular expressions for one form drift apart, and then a manifest passes in one place and not in the
other. Nothing here uses what only one engine has; all are for whole texts (`fullmatch`, or `^(?:...)$`).
"""

import re
from typing import Final

from watchword.identity import NAME_PATTERN, NAMESPACE_PATTERN

NAMESPACE: Final = NAMESPACE_PATTERN
OBJECT_NAME: Final = NAME_PATTERN
# Kubernetes, "ConfigMaps" and "Secrets": the keys of `data`.
ENTRY: Final = r"[A-Za-z0-9_-][A-Za-z0-9._-]*|\.[A-Za-z0-9_-][A-Za-z0-9._-]*"
# Kubernetes, "Labels and Selectors", "Syntax and character set".
_LABEL_WORD: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
LABEL_NAME: Final = rf"(?:{NAME_PATTERN}/)?{_LABEL_WORD}"
LABEL_VALUE: Final = rf"(?:{_LABEL_WORD})?"
# RFC 7638 with SHA-256, in base64url.
THUMBPRINT: Final = r"[A-Za-z0-9_-]{43}"
# RFC 3339 with a zone. Fractions and a small t are legal there and help no one here.
TIME: Final = (
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
)
# Names that answers of the usage read model use themselves, next to the dimensions of a meter.
ANSWERS_OWN: Final = "meter|value|overflow"
# RFC 6901.
POINTER: Final = r"(?:/(?:[^~/]|~[01])*)*"
# With a host, and without what could send a request elsewhere or be read two ways: user info, a fragment.
HTTPS_URL: Final = r'https://[A-Za-z0-9._:\[\]-]+(?:[/?][!"$-~]*)?'
# RFC 6454, as a browser writes it: no path. Plain HTTP only where nothing leaves the machine.
ORIGIN: Final = (
    r"https://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:.]+\])"
    r"(?::[1-9][0-9]{0,4})?|http://(?:127\.0\.0\.1|\[::1\]|localhost)(?::[1-9][0-9]{0,4})?"
)
# RFC 5890: labels of letters, digits and hyphens in lower case, two of them at least.
_DOMAIN_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
MAIL_DOMAIN: Final = rf"{_DOMAIN_LABEL}(?:\.{_DOMAIN_LABEL})+"
# RFC 5322, section 3.2.3: a dot-atom, of which the part before the `@` may have 64 (RFC 5321, section 4.5.3).
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
MAIL_ADDRESS: Final = rf"{_ATOM}(?:\.{_ATOM})*@{MAIL_DOMAIN}"
# The length of a network's prefix, in plain digits: no mask, no leading zero.
NETWORK: Final = r"[0-9A-Fa-f.:]+/(?:0|[1-9][0-9]{0,2})"


def is_whole(pattern: str, text: str) -> bool:
    """Whether the whole text has this form."""
    return re.fullmatch(pattern, text) is not None
