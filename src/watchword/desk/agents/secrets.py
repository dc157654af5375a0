# SPDX-License-Identifier: Apache-2.0
"""Secrets that the desk hands out for agents, and their digests, which are all that it keeps of them.

Tokens hold 256 bits of chance, so a plain SHA-256 hides them (argon2 would be a way to stall the desk). A
code has six digits and lives for minutes; it is hashed together with its attempt, and is nothing without the
claim token.
"""

import hashlib
import secrets
from typing import Final

# What a secret is for can be seen in its prefix: a log that shows one says which, and scanners find it.
CLAIM: Final = "wwc_"
REFRESH: Final = "wwr_"
ATTEMPT: Final = "wwa_"
MAILED: Final = "wwm_"
_CODE_DIGITS: Final = 6
_MAX_SECRET: Final = 64


def new_secret(prefix: str) -> str:
    """A new secret of one kind: its prefix and 256 bits."""
    return prefix + secrets.token_urlsafe(32)


def new_registration_id() -> str:
    """A new registration's id: 128 bits. It is public."""
    return f"reg_{secrets.token_hex(16)}"


def new_person_id() -> str:
    """A new person's pseudonym in the audit log."""
    return f"person_{secrets.token_hex(16)}"


def new_code() -> str:
    """A new code of six digits."""
    return f"{secrets.randbelow(10**_CODE_DIGITS):0{_CODE_DIGITS}d}"


def digest_of(secret: str) -> str:
    """The digest by which a secret is stored and found, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def digest_of_code(attempt_digest: str, code: str) -> str:
    """The digest of a code of one attempt."""
    return hashlib.sha256(f"{attempt_digest}\n{code}".encode("utf-8", "replace")).hexdigest()


def digest_of_address(address: str) -> str:
    """What an address is counted under, where the address itself must not be kept."""
    return hashlib.sha256(f"address\n{address}".encode()).hexdigest()


def looks_like(prefix: str, text: str) -> bool:
    """Whether a text could be a secret of a kind; what could not needs no look into the store."""
    return text.startswith(prefix) and len(text) <= _MAX_SECRET
