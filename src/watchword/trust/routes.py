# SPDX-License-Identifier: Apache-2.0
"""Which route a request is, decided on the raw request target and on whole, decoded segments.

Gate, proxy and app must see the same path, or the check is of one path and the work is done on another.
So whatever two parsers could read differently (dot segments, empty segments, encoded slashes, double
encodings, parameters) is refused and never normalized.
"""

import re
from collections.abc import Iterable
from typing import Final, Protocol
from urllib.parse import unquote_to_bytes

import msgspec

from watchword.identity import Reason, Refusal

MAX_TARGET_BYTES: Final = 8 * 1024
_CAPTURE: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
# Unreserved characters and delimiters that have no meaning in a path (RFC 3986, section 3.3), and the slash.
_PLAIN: Final = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,=:@/]*")
_DOTS: Final = frozenset({".", ".."})
_DOT_SEGMENT: Final = "the path holds a dot segment"
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# After one decoding: separators that some parsers honor, a second encoding, other parts of a URL.
_AMBIGUOUS: Final = frozenset("/\\%;?#")


class RouteLike(Protocol):
    """What a route has, wherever it comes from."""

    @property
    def path(self) -> str:
        """The template."""

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods."""

    @property
    def scope(self) -> str:
        """The scope."""


class RouteMatch(msgspec.Struct, frozen=True):
    """The route of one request.

    Attributes:
        path: the route's template.
        scope: the scope that it requires.
        account: the `{account}` of the path, or None.
        project: the `{project}` of the path, or None.
    """

    path: str
    scope: str
    account: str | None
    project: str | None


class AmbiguousTargetError(ValueError):
    """Two parsers could read this request target as two paths; the message says why."""


def split_target(target: bytes) -> tuple[str, ...]:
    """The decoded segments of a raw request target (RFC 9112, section 3.2.1; RFC 3986, section 3.3).

    Args:
        target: as the caller sent it: a path, and perhaps a query, which decides nothing.

    Raises:
        AmbiguousTargetError: parsers could differ on the path.
    """
    if len(target) > MAX_TARGET_BYTES:
        raise AmbiguousTargetError(f"the target has {len(target)} bytes; at most {MAX_TARGET_BYTES} are read")
    path = target.partition(b"?")[0]
    if not path.startswith(b"/"):
        raise AmbiguousTargetError("the target does not start with a slash")
    if _PLAIN.fullmatch(path):
        # Most paths: nothing to decode, and no character that some parser takes for anything else.
        segments = tuple(path[1:].decode("ascii").split("/"))
        if not _DOTS.isdisjoint(segments):
            raise AmbiguousTargetError(_DOT_SEGMENT)
    elif _BAD_ESCAPE.search(path):
        raise AmbiguousTargetError("the path holds a percent sign that starts no encoded byte")
    else:
        segments = tuple(_decode(segment) for segment in path[1:].split(b"/"))
    # One empty last segment is a trailing slash, which a template may have.
    if "" in segments[:-1]:
        raise AmbiguousTargetError("the path holds an empty segment")
    return segments


def _decode(raw: bytes) -> str:
    try:
        segment = unquote_to_bytes(raw).decode("utf-8")
    except UnicodeDecodeError:
        raise AmbiguousTargetError("a segment is not UTF-8") from None
    if segment in _DOTS:
        raise AmbiguousTargetError(_DOT_SEGMENT)
    if not _AMBIGUOUS.isdisjoint(segment):
        raise AmbiguousTargetError("a segment holds one of / \\ % ; ? # once it is decoded")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in segment):
        raise AmbiguousTargetError("a segment holds a control character")
    return segment


def flaw_of_template(path: str) -> str | None:
    """What is wrong with a route's path, or None."""
    try:
        segments = split_target(_CAPTURE.sub("x", path).encode())
    except AmbiguousTargetError as problem:
        return str(problem)
    if "?" in path or any("{" in segment or "}" in segment for segment in segments):
        return "braces hold a capture such as {account} and stand for a whole segment; a path has no query"
    names = []
    for segment in path.split("/"):
        found = _CAPTURE.search(segment)
        if found is not None and found[0] != segment:
            return "a capture stands for a whole segment"
        if found is not None:
            names.append(found[1])
    return "a capture is named twice" if len(set(names)) != len(names) else None


def shape_of_template(path: str) -> tuple[str | None, ...]:
    """The decoded segments of a well-formed template, None where it captures: what it matches."""
    literal = split_target(_CAPTURE.sub("x", path).encode())
    return tuple(
        None if _CAPTURE.fullmatch(written) else text
        for written, text in zip(path[1:].split("/"), literal, strict=True)
    )


class _Compiled(msgspec.Struct, frozen=True):
    path: str
    segments: tuple[str | None, ...]
    names: tuple[tuple[int, str], ...]
    methods: frozenset[str]
    scope: str


class RouteTable:
    """A service's routes, ready to match. The first that matches wins."""

    def __init__(self, routes: Iterable[RouteLike]) -> None:
        """Compile routes whose templates are well-formed; raises ValueError for others."""
        self._by_length: dict[int, list[_Compiled]] = {}
        for route in routes:
            if flaw := flaw_of_template(route.path):
                raise ValueError(f"{route.path}: {flaw}")
            parts = [_CAPTURE.fullmatch(segment) for segment in route.path[1:].split("/")]
            compiled = _Compiled(
                path=route.path,
                segments=shape_of_template(route.path),
                names=tuple((place, part[1]) for place, part in enumerate(parts) if part),
                methods=frozenset(route.methods),
                scope=route.scope,
            )
            self._by_length.setdefault(len(compiled.segments), []).append(compiled)

    def match(self, method: str, target: bytes) -> RouteMatch | Refusal:
        """Find the route of a request (check 16).

        Args:
            method: as sent, in capitals.
            target: the raw request target.

        Returns:
            The route, or `no_route`.
        """
        try:
            segments = split_target(target)
        except AmbiguousTargetError as problem:
            hint = "Send the plain path, each segment encoded once and without ; or dot segments."
            return Refusal(Reason.NO_ROUTE, f"The path is ambiguous: {problem}.", hint)
        for route in self._by_length.get(len(segments), ()):
            if method in route.methods and _fits(route.segments, segments):
                captures = {name: segments[place] for place, name in route.names}
                return RouteMatch(route.path, route.scope, captures.get("account"), captures.get("project"))
        return Refusal(Reason.NO_ROUTE)


def _fits(template: tuple[str | None, ...], segments: tuple[str, ...]) -> bool:
    # A capture never stands for nothing: `/accounts//usage` has no account.
    for wanted, segment in zip(template, segments, strict=True):
        if not segment if wanted is None else wanted != segment:
            return False
    return True
