# SPDX-License-Identifier: Apache-2.0
"""Request targets and templates of routes as whole, decoded segments, and which of them fit each other.

Gate, proxy and app must see the same path, or the check is of one path and the work is done on another.
So whatever two parsers could read differently (dot segments, empty segments, encoded slashes, double
encodings, parameters) is refused and never normalized.
"""

import re
from typing import Final
from urllib.parse import unquote_to_bytes

from watchword.trust.path_folding import fold_segment, hides_separator

MAX_TARGET_BYTES: Final = 8 * 1024
CAPTURE: Final = re.compile(r"\{([a-z][a-z0-9_]{0,31})\}")
_REST: Final = re.compile(r"/\{([a-z][a-z0-9_]{0,31})\.\.\.\}$")
# What no decoded segment is: it stands for one or more of them at the end of a template.
REST: Final = "/"
_BOUND: Final = frozenset({"account", "project"})
# Unreserved characters and delimiters that have no meaning in a path (RFC 3986, section 3.3), and the slash.
_PLAIN: Final = re.compile(rb"/[A-Za-z0-9\-._~!$&'()*+,=:@/]*")
_DOTS: Final = frozenset({".", ".."})
_DOT_SEGMENT: Final = "the path holds a dot segment"
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
# After one decoding: separators that some parsers honor, a second encoding, other parts of a URL.
_AMBIGUOUS: Final = frozenset("/\\%;?#")

# The decoded segments of a template, None for a capture; maybe with REST at the end.
Template = tuple[str | None, ...]


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
    if hides_separator(segment):
        raise AmbiguousTargetError("a segment holds what some servers take for a separator or a dot segment")
    if any(ord(character) < 0x20 or 0x7F <= ord(character) < 0xA0 for character in segment):
        raise AmbiguousTargetError("a segment holds a control character")
    return segment


def flaw_of_template(path: str) -> str | None:
    """What is wrong with a route's path, or None."""
    plain, rest = split_rest(path)
    try:
        segments = split_target(CAPTURE.sub("x", plain).encode())
    except AmbiguousTargetError as problem:
        return str(problem)
    if "?" in plain or any("{" in segment or "}" in segment for segment in segments):
        return "braces hold a capture such as {account} and stand for a whole segment; a path has no query"
    names = [rest] if rest else []
    for segment in plain.split("/"):
        found = CAPTURE.search(segment)
        if found is not None and found[0] != segment:
            return "a capture stands for a whole segment"
        if found is not None:
            names.append(found[1])
    if rest in _BOUND:
        return f"{{{rest}...}} would take more than one segment for {rest}"
    return "a capture is named twice" if len(set(names)) != len(names) else None


def template_of(path: str) -> Template:
    """The decoded segments of a well-formed template, None where it captures: what it matches.

    One that takes any rest ends with REST.
    """
    plain, rest = split_rest(path)
    literal = split_target(CAPTURE.sub("x", plain).encode())
    template = tuple(
        None if CAPTURE.fullmatch(written) else text
        for written, text in zip(plain[1:].split("/"), literal, strict=True)
    )
    return (*template[:-1], REST) if rest else template


def split_rest(path: str) -> tuple[str, str]:
    """A template that takes any rest, with a plain segment in its place, and its name; else no name."""
    found = _REST.search(path)
    return (path[: found.start()] + "/x", found[1]) if found is not None else (path, "")


def folded_template(template: Template) -> Template:
    """A template without the slash at its end, in one case."""
    return in_one_case(template[:-1] if len(template) > 1 and template[-1] == "" else template)


def folded_path(segments: tuple[str, ...]) -> tuple[str, ...]:
    """The same of a path."""
    plain = segments[:-1] if len(segments) > 1 and segments[-1] == "" else segments
    return tuple(map(fold_segment, plain))


def in_one_case(template: Template) -> Template:
    """A template whose literals are folded."""
    return tuple(None if each is None else fold_segment(each) for each in template)


def covers(wide: Template, narrow: Template) -> bool:
    """Whether every path that fits `narrow` fits `wide` too, which takes any rest."""
    if not wide or wide[-1] != REST or len(narrow) < len(wide):
        return False
    pairs = zip(wide[:-1], narrow, strict=False)
    return narrow[len(wide) - 1] != "" and all(one is None or one == two for one, two in pairs)


def may_overlap(one: Template, two: Template) -> bool:
    """Whether some path may fit both, in any case and with or without a slash at its end."""
    one, two = folded_template(one), folded_template(two)
    length = min(len(one) - (one[-1:] == (REST,)), len(two) - (two[-1:] == (REST,)))
    if any(
        a is not None and b is not None and a != b for a, b in zip(one[:length], two[:length], strict=True)
    ):
        return False
    if one[-1:] == (REST,) and two[-1:] == (REST,):
        return True
    if one[-1:] == (REST,):
        return len(two) >= len(one)
    if two[-1:] == (REST,):
        return len(one) >= len(two)
    return len(one) == len(two)


def fits(template: Template, segments: tuple[str, ...]) -> bool:
    """Whether a path fits a template of as many segments, which takes no rest."""
    # A capture never stands for nothing: `/accounts//usage` has no account.
    for wanted, segment in zip(template, segments, strict=True):
        if not segment if wanted is None else wanted != segment:
            return False
    return True


def fits_exactly(template: Template, segments: tuple[str, ...]) -> bool:
    """Whether a path fits a template as it is written."""
    if template[-1] == REST:
        return fits_rest(template, segments)
    return len(template) == len(segments) and fits(template, segments)


def fits_rest(template: Template, segments: tuple[str, ...]) -> bool:
    """Whether a path fits a template that takes any rest."""
    fixed = len(template) - 1
    # The rest is one segment or more, and begins with none that is empty.
    return len(segments) > fixed and segments[fixed] != "" and fits(template[:-1], segments[:fixed])


def fits_in_any_form(folded: Template, segments: tuple[str, ...]) -> bool:
    """Whether some server takes a folded path for one of a folded template.

    Where any rest may follow, that is also the path in front of the rest: Go's ServeMux, Spring's `{*path}`
    and ASP.NET's `{**path}` have an empty rest.
    """
    if folded[-1] == REST:
        is_without_rest = len(segments) == len(folded) - 1 and fits(folded[:-1], segments)
        return is_without_rest or fits_rest(folded, segments)
    return len(folded) == len(segments) and fits(folded, segments)


def is_likeness(earlier: Template, later: Template) -> bool:
    """Whether a route may capture, in another spelling, what an earlier one has as a literal."""
    has_literal = any(
        one not in {None, REST} and two is None for one, two in zip(earlier, later, strict=False)
    )
    if earlier[-1] == REST:
        return has_literal and len(earlier) <= len(later) + 1
    return has_literal and len(earlier) == len(later)


def may_take_requests_of(earlier: Template, later: Template) -> bool:
    """Whether a later route, on its own, may take a path that is an earlier one's in some form."""
    if may_overlap(earlier, later):
        return True
    # The path in front of a rest is the earlier route's too, unless the later one says it by its name.
    return (
        earlier[-1] == REST
        and is_likeness(folded_template(earlier), folded_template(later))
        and may_overlap(earlier[:-1], later)
    )
