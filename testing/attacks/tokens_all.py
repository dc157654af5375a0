# SPDX-License-Identifier: Apache-2.0
"""Every hostile token, in one list: what is thrown at the checks, and then again at a running gate."""

from testing.attacks import tokens_algorithms, tokens_audience, tokens_claims, tokens_encoding, tokens_headers
from testing.attacks.case import Case

TOKENS: list[Case[bytes]] = [
    *tokens_algorithms.TOKENS,
    *tokens_headers.TOKENS,
    *tokens_claims.TOKENS,
    *tokens_audience.TOKENS,
    *tokens_encoding.TOKENS,
]
