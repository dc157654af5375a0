# SPDX-License-Identifier: Apache-2.0
"""For callers in Python: the pod's projected token on every request, and refusals as exceptions.

`httpx.Client(auth=WatchwordAuth())` is the whole of it. A caller that reads its token once works for an hour
and then fails at night; here the file is looked at before every request. Needs httpx and nothing else.
"""

from watchword.client.auth import WatchwordAuth
from watchword.client.errors import (
    DeskRefused,
    DeskUnreachable,
    ExchangeFailed,
    OriginNotAllowed,
    TokenFileEmpty,
    TokenFileMalformed,
    TokenFileMissing,
    TokenFileTooLarge,
    TokenFileUnreadable,
    TokenUnavailable,
    WatchwordError,
    WatchwordRefused,
)
from watchword.client.exchanged_token import ExchangedToken, TokenCache
from watchword.client.token_file import (
    DEFAULT_DESK_TOKEN_FILE,
    DEFAULT_TOKEN_FILE,
    DESK_TOKEN_FILE_VARIABLE,
    DESK_VARIABLE,
    MAX_TOKEN_FILE_BYTES,
    TOKEN_FILE_VARIABLE,
    TokenFile,
    TokenSource,
)

__all__ = [
    "DEFAULT_DESK_TOKEN_FILE",
    "DEFAULT_TOKEN_FILE",
    "DESK_TOKEN_FILE_VARIABLE",
    "DESK_VARIABLE",
    "MAX_TOKEN_FILE_BYTES",
    "TOKEN_FILE_VARIABLE",
    "DeskRefused",
    "DeskUnreachable",
    "ExchangeFailed",
    "ExchangedToken",
    "OriginNotAllowed",
    "TokenCache",
    "TokenFile",
    "TokenFileEmpty",
    "TokenFileMalformed",
    "TokenFileMissing",
    "TokenFileTooLarge",
    "TokenFileUnreadable",
    "TokenSource",
    "TokenUnavailable",
    "WatchwordAuth",
    "WatchwordError",
    "WatchwordRefused",
]
