# SPDX-License-Identifier: Apache-2.0
"""Find the line of a manifest that a problem is about, so that an editor can jump to it."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec
import yaml

from watchword.trust import Problem
from watchword.trust.strict_yaml import MAX_DEPTH, is_deeper_than
from watchword.trust.text_encoding import TextEncodingError, as_utf8

_STEP: Final = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
# Reading for lines is slow: a file of this size is named without one.
_MAX_BYTES: Final = 1024 * 1024


def with_lines(problems: tuple[Problem, ...], files: Mapping[str, bytes]) -> tuple[Problem, ...]:
    """The problems with `file:line` as their source, as far as the line can be found.

    Args:
        problems: as compiling gave them.
        files: the manifests by name.
    """
    parsed: dict[str, list[yaml.Node]] = {}
    found = []
    for each in problems:
        if each.source not in parsed:
            parsed[each.source] = list(_documents(files.get(each.source, b"")))
        line = _line_of(each, parsed[each.source])
        found.append(each if line is None else msgspec.structs.replace(each, source=f"{each.source}:{line}"))
    return tuple(found)


def _documents(data: bytes) -> Iterator[yaml.Node]:
    if len(data) > _MAX_BYTES:
        return
    try:
        text = as_utf8(data).decode()
        if is_deeper_than(text, MAX_DEPTH):
            return
        for node in yaml.compose_all(text, Loader=yaml.CSafeLoader):
            yield from _items(node)
    except (yaml.YAMLError, TextEncodingError, ValueError, RecursionError):
        return


def _items(node: yaml.Node | None) -> Iterator[yaml.Node]:
    if node is None:
        return
    items = _member(node, "items")
    if _text(_member(node, "kind")) == "List" and isinstance(items, yaml.SequenceNode):
        for each in items.value:
            yield from _items(each)
    else:
        yield node


def _line_of(problem: Problem, documents: list[yaml.Node]) -> int | None:
    for node in documents:
        metadata = _member(node, "metadata")
        named = (
            _text(_member(node, "kind")),
            _text(_member(metadata, "namespace")),
            _text(_member(metadata, "name")),
        )
        if named == (problem.kind, problem.namespace, problem.name):
            return _deepest(node, problem.field)
    return None


def _deepest(node: yaml.Node, field: str) -> int:
    """The line of the field, or of the innermost part around it that is there."""
    line, here = node.start_mark.line, node
    for name, index in _STEP.findall(field):
        step = _key(here, name) if name else _item(here, int(index))
        if step is None:
            break
        line, here = step
    return line + 1


def _key(node: yaml.Node, name: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if _text(key) == name:
                return key.start_mark.line, value
    return None


def _item(node: yaml.Node, index: int) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.SequenceNode) and index < len(node.value):
        return node.value[index].start_mark.line, node.value[index]
    return None


def _member(node: yaml.Node | None, name: str) -> yaml.Node | None:
    found = None if node is None else _key(node, name)
    return None if found is None else found[1]


def _text(node: yaml.Node | None) -> str:
    return str(node.value) if isinstance(node, yaml.ScalarNode) else ""
