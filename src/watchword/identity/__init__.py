# SPDX-License-Identifier: Apache-2.0
"""Who is calling? Pure: bytes, a policy and a `now` in, an identity or a refusal out.

Nothing here reads a file, a socket or a clock. Read `checks.py` first: it is the table of the docs as code.
"""

from watchword.identity.caller import Identity
from watchword.identity.checks import CHECKS, Check
from watchword.identity.claims import VerifiedClaims
from watchword.identity.compact import MAX_TOKEN_BYTES
from watchword.identity.credential import read_bearer, read_credential, sole_authorization
from watchword.identity.desk_claims import DeskClaims
from watchword.identity.encoding import EncodingError, parse_json_object
from watchword.identity.jwk import ALGORITHMS, Key, KeyProblem, load_key, public_jwk, thumbprint_of
from watchword.identity.jwks import KeySet, load_jwks, load_key_objects
from watchword.identity.policy import (
    MAX_KEYS_OF_KID,
    Binding,
    Desk,
    Grant,
    Issuer,
    PinnedKey,
    Policy,
    Revocations,
    Workload,
)
from watchword.identity.reasons import Proven, Reason, Refusal
from watchword.identity.subject import (
    NAME_PATTERN,
    NAMESPACE_PATTERN,
    Subject,
    is_namespace_name,
    is_service_account_name,
    parse_subject,
)
from watchword.identity.verify import (
    Examination,
    Examined,
    Outcome,
    examine,
    is_for_service,
    is_signed,
    verify,
)

__all__ = [
    "ALGORITHMS",
    "CHECKS",
    "MAX_KEYS_OF_KID",
    "MAX_TOKEN_BYTES",
    "NAMESPACE_PATTERN",
    "NAME_PATTERN",
    "Binding",
    "Check",
    "Desk",
    "DeskClaims",
    "EncodingError",
    "Examination",
    "Examined",
    "Grant",
    "Identity",
    "Issuer",
    "Key",
    "KeyProblem",
    "KeySet",
    "Outcome",
    "PinnedKey",
    "Policy",
    "Proven",
    "Reason",
    "Refusal",
    "Revocations",
    "Subject",
    "VerifiedClaims",
    "Workload",
    "examine",
    "is_for_service",
    "is_namespace_name",
    "is_service_account_name",
    "is_signed",
    "load_jwks",
    "load_key",
    "load_key_objects",
    "parse_json_object",
    "parse_subject",
    "public_jwk",
    "read_bearer",
    "read_credential",
    "sole_authorization",
    "thumbprint_of",
    "verify",
]
