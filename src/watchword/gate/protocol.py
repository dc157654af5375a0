# SPDX-License-Identifier: Apache-2.0
"""uvicorn's own HTTP protocol, which also hands on the request target exactly as it was sent.

ASGI's `path` is decoded and its `raw_path` has lost the fragment and, of an absolute-form target, the host.
Whoever decides by path must see what the caller wrote (CVE-2026-48710 is what rebuilding it leads to).
"""

from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

TARGET = "watchword.target"


class TargetProtocol(HttpToolsProtocol):
    """Adds the raw target to each request's scope."""

    def on_headers_complete(self) -> None:
        """Note the target before uvicorn takes it apart (RFC 9112, section 3.2)."""
        scope: dict[str, Any] = self.scope  # type: ignore[assignment]  # ASGI allows members of one's own
        scope[TARGET] = self.url
        super().on_headers_complete()


def raw_target(scope: Any) -> bytes:
    """The request target as sent; where another server runs the app, the best that ASGI has."""
    target = scope.get(TARGET)
    if isinstance(target, bytes):
        return target
    query: bytes = scope.get("query_string", b"")
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    return path + b"?" + query if query else path
