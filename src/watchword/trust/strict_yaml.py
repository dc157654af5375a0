# SPDX-License-Identifier: Apache-2.0
"""YAML with its surprises switched off: no repeated keys, anchors or tags; scalars mean what kubectl reads.

An alias may stand for a gigabyte, and of two equal keys the last one wins in silence. A plain `y` is true
here because it is true for kubectl: what is checked must be what is applied. JSON is read as JSON: it is
nearly YAML, but for the numbers and the escapes that are not.
"""

import json
import re
from typing import Any, Final

import msgspec
import yaml

from watchword.trust.text_encoding import TextEncodingError, as_utf8
from watchword.trust.yaml_scalars import plain_scalar

MAX_FILE_BYTES: Final = 4 * 1024 * 1024
MAX_DEPTH: Final = 64
_TAG: Final = "tag:yaml.org,2002:"
# Of a plain scalar that is no text; no document can name it, since tags are refused.
_PLAIN: Final = "!plain"
_JSON_SPACE: Final = re.compile(r"[ \t\r\n]*")
_SURROGATE: Final = re.compile(r"\\u[dD][89a-fA-F]")


class Unreadable(msgspec.Struct, frozen=True):
    """Bytes of which nothing is used.

    Attributes:
        detail: what is wrong.
        remedy: what would be right.
    """

    detail: str
    remedy: str


class _UnfitYamlError(yaml.YAMLError):
    """YAML that is legal and not accepted here."""


class _Loader(yaml.CSafeLoader):
    """Safe YAML without repeated keys, and with fewer implicit types."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """Refuse a key that is listed twice, and keys that are not text."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = key_node.value
            if key_node.tag != f"{_TAG}str":
                raise _UnfitYamlError(f"line {key_node.start_mark.line + 1}: a key is not a string; quote it")
            if key in seen:
                raise _UnfitYamlError(f"line {key_node.start_mark.line + 1}: the key {key!r} is repeated")
            seen.add(key)
        return super().construct_mapping(node, deep=deep)

    def resolve(self, kind: Any, value: Any, implicit: Any) -> Any:
        """Tell text from everything else as kubectl does, and not as YAML 1.1 says."""
        if kind is yaml.ScalarNode and implicit[0] and value != "<<":
            return f"{_TAG}str" if isinstance(plain_scalar(value), str) else _PLAIN
        return super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]  # the library has no types there


def _plain_value(_: Any, node: Any) -> Any:
    return plain_scalar(node.value)


_Loader.add_constructor(_PLAIN, _plain_value)


def read_documents(data: bytes) -> list[Any] | Unreadable:
    """The documents of one file, as built-in values. Never raises for bad input.

    Args:
        data: at most 4 MiB of YAML or JSON in UTF-8, with or without a byte order mark; nested at most 64
            levels deep.
    """
    if len(data) > MAX_FILE_BYTES:
        detail = f"the file has {len(data)} bytes"
        return Unreadable(detail, f"split it: at most {MAX_FILE_BYTES} bytes are read")
    try:
        text = as_utf8(data).decode("utf-8")
    except TextEncodingError as error:
        return Unreadable(error.detail, error.remedy)
    try:
        if text.lstrip()[:1] in ("{", "["):
            try:
                return _read_json(text)
            except json.JSONDecodeError:
                pass  # a flow collection of YAML, or YAML behind JSON
        _refuse_surprises(text)
        return list(yaml.load_all(text, Loader=_Loader))
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError) as error:
        said = f"nested deeper than {MAX_DEPTH} levels" if isinstance(error, RecursionError) else str(error)
        detail = f"not YAML or JSON: {' '.join(said.split())[:300]}"
        return Unreadable(detail, "fix the file; nothing of it is used")


def _read_json(text: str) -> list[Any]:
    """The JSON values of a text, one behind the other: kubectl needs nothing between them."""
    values: list[Any] = []
    place = _end_of_space(text, 0)
    while place < len(text):
        value, place = _json.raw_decode(text, place)
        values.append(value)
        place = _end_of_space(text, place)
    if _SURROGATE.search(text):
        # Half a pair is no character: writing it on would fail later, and not here.
        json.dumps(values, ensure_ascii=False).encode()
    _refuse_depth(values)
    return values


def _refuse_depth(level: list[Any]) -> None:
    depth = 0
    while level:
        depth += any(isinstance(each, (dict, list)) for each in level)
        if depth > MAX_DEPTH:
            raise _UnfitYamlError(f"nested deeper than {MAX_DEPTH} levels")
        level = [
            member
            for each in level
            if isinstance(each, (dict, list))
            for member in (each.values() if isinstance(each, dict) else each)
        ]


def _end_of_space(text: str, place: int) -> int:
    found = _JSON_SPACE.match(text, place)
    return place if found is None else found.end()


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise _UnfitYamlError(f"the key {key!r} is repeated")
        members[key] = value
    return members


def _refuse_constant(name: str) -> Any:
    raise _UnfitYamlError(f"{name} is no number")


def is_deeper_than(text: str | bytes, levels: int) -> bool:
    """Whether YAML is nested deeper than so many levels, as far as it can be read.

    PyYAML builds nodes by recursion in C, where depth ends the process: ask this before it builds any.
    """
    depth = 0
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > levels:
                return True
    except yaml.YAMLError:
        pass
    return False


def _refuse_surprises(text: str) -> None:
    """Look at the parser's events before anything is built."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.CSafeLoader):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _UnfitYamlError(f"line {line}: anchors and aliases are not accepted; write the value out")
        if getattr(event, "tag", None) is not None:
            raise _UnfitYamlError(f"line {line}: tags are not accepted; write the plain value")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _UnfitYamlError(f"line {line}: nested deeper than {MAX_DEPTH} levels")


_json: Final = json.JSONDecoder(object_pairs_hook=_without_repeats, parse_constant=_refuse_constant)
