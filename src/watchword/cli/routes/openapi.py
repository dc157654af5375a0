# SPDX-License-Identifier: Apache-2.0
"""The operations of an OpenAPI document: method, path and what it says of parameters and security.

Read are OpenAPI 3.0 to 3.2 and Swagger 2.0 (spec.openapis.org), and of them only what routes are made of: an
error in a schema is not ours to find. Every scalar is read as text, so that a response `200` or a parameter
`y` is what its author wrote.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import yaml

from watchword.trust.strict_yaml import is_deeper_than
from watchword.trust.text_encoding import TextEncodingError, as_utf8

MAX_FILE_BYTES: Final = 32 * 1024 * 1024
# Path Item Object, "Fixed Fields"; `query` since 3.2.
METHODS: Final = ("get", "head", "post", "put", "patch", "delete", "options", "trace", "query")
_METHOD: Final = re.compile(r"[A-Z]{1,16}")
_VARIABLE: Final = re.compile(r"\{([^{}]*)\}")
_MAX_REFERENCES: Final = 16

Object = Mapping[str, Any]


class OpenApiError(ValueError):
    """A document that no routes can be read from.

    Attributes:
        detail: the member, what it is, and what would be right.
        remedy: what to do.
    """

    def __init__(self, detail: str, remedy: str) -> None:
        super().__init__(f"{detail} {remedy}")
        self.detail, self.remedy = detail, remedy


class Parameter(msgspec.Struct, frozen=True):
    """A parameter of the query.

    Attributes:
        name: as written.
        is_required: the document says that it has to come.
    """

    name: str
    is_required: bool


class Operation(msgspec.Struct, frozen=True):
    """What may be asked of a path.

    Attributes:
        method: in capitals.
        path: the path's template as written, behind the servers' path.
        name: its operationId, or method and path.
        tag: the first of its tags, or empty.
        scopes: those of OAuth 2.0 or OpenID Connect that all of its alternatives require, sorted.
        needs_credential: False where the document says that it is open to everyone.
        query: its parameters of the query.
    """

    method: str
    path: str
    name: str
    tag: str
    scopes: tuple[str, ...]
    needs_credential: bool
    query: tuple[Parameter, ...]


class Document(msgspec.Struct, frozen=True):
    """What was read.

    Attributes:
        title: of the API, with its version.
        operations: in the document's order.
        notes: what was left out, a sentence each.
    """

    title: str
    operations: tuple[Operation, ...]
    notes: tuple[str, ...]


# A schema within a schema is two levels; what is read by recursion in C must not be without a bound.
_MAX_DEPTH: Final = 200


class _Loader(yaml.CBaseLoader):
    """Text, lists and mappings, in which no key stands twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: a key is not a word")
            if key.value in seen:
                raise yaml.YAMLError(f"line {key.start_mark.line + 1}: the key {key.value!r} is repeated")
            seen.add(key.value)
        return super().construct_mapping(node, deep=deep)


def read_openapi(data: bytes, base_path: str | None = None) -> Document:
    """The operations of a document in YAML or JSON.

    Args:
        data: at most 32 MiB of UTF-8.
        base_path: what stands before each path, in place of the path of the document's servers.

    Raises:
        OpenApiError: it is none, or of a version that is not read.
    """
    root = _parsed(data)
    version = _text(root.get("openapi") or root.get("swagger"))
    is_swagger = "openapi" not in root
    if not re.fullmatch(r"2\.0" if is_swagger else r"3\.[0-2](\..*)?", version):
        found = f"is {version!r}" if version else "is missing"
        raise OpenApiError(
            f"The member `openapi` {found}; it has to say 3.0 to 3.2, or `swagger` 2.0.",
            "Name the file of the API's OpenAPI document.",
        )
    paths = root.get("paths", {})
    if not isinstance(paths, dict):
        raise OpenApiError("The member `paths` is not a mapping.", "Write each path as a key of `paths`.")
    reader = _Reader(root, base_path, is_swagger=is_swagger)
    operations = tuple(reader.operations(paths))
    info = root.get("info")
    info = info if isinstance(info, dict) else {}
    title = f"{_text(info.get('title')) or 'an API'} {_text(info.get('version'))}".strip()
    return Document(title, operations, tuple(dict.fromkeys(reader.notes)))


def _parsed(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_FILE_BYTES:
        raise OpenApiError(
            f"The file has {len(data)} bytes; at most {MAX_FILE_BYTES} are read.",
            "Take the examples out, or split the document.",
        )
    try:
        text = as_utf8(data)
    except TextEncodingError as error:
        raise OpenApiError(f"{error.detail[0].upper()}{error.detail[1:]}.", f"{error.remedy}.") from None
    try:
        # JSON's escapes are not all YAML's.
        is_json = text.lstrip().startswith(b"{")
        root = _json(text) if is_json else _yaml(text)
    except json.JSONDecodeError as error:
        raise OpenApiError(
            f"The file is not JSON: line {error.lineno}: {error.msg}.", "Correct it there."
        ) from None
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: {getattr(error, 'problem', '')}" if mark else str(error)
        raise OpenApiError(
            f"The file is neither YAML nor JSON: {where.splitlines()[0]}.", "Correct it there."
        ) from None
    if not isinstance(root, dict):
        raise OpenApiError("The file holds no mapping.", "Name the file of the API's OpenAPI document.")
    return root


def _json(text: bytes) -> Any:
    """JSON as the YAML loader gives it: numbers as text, and no name twice. Flow YAML is read as that."""
    try:
        return json.loads(text, object_pairs_hook=_distinct, parse_int=str, parse_float=str)
    except json.JSONDecodeError:
        if b"\\u" in text:
            raise
        return _yaml(text)


def _yaml(text: bytes) -> Any:
    if is_deeper_than(text, _MAX_DEPTH):
        raise OpenApiError(
            f"The file is neither YAML nor JSON that can be read: nested deeper than {_MAX_DEPTH} levels.",
            "Move inner parts to components.",
        )
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - text, lists and mappings only


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise yaml.YAMLError(f"the key {repeated!r} is repeated")
    return found


class _Reader:
    """Walks a document's paths, and keeps what it left out."""

    def __init__(self, root: dict[str, Any], base_path: str | None, *, is_swagger: bool) -> None:
        self.notes: list[str] = []
        self._root, self._base_path, self._is_swagger = root, base_path, is_swagger
        schemes = (
            root.get("securityDefinitions")
            if is_swagger
            else _member(_member(root, "components"), "securitySchemes")
        )
        self._schemes = schemes if isinstance(schemes, dict) else {}

    def operations(self, paths: Object) -> Iterator[Operation]:
        """Each path's operations, in order."""
        for path, written in paths.items():
            if path.startswith("x-"):
                continue
            item = self._resolved(written, path)
            if item is None:
                continue
            shared = self._parameters(item.get("parameters"), path)
            for method, operation in self._methods(item, path):
                yield self._operation(path, method, item, operation, shared)

    def _methods(self, item: Object, path: str) -> Iterator[tuple[str, Object]]:
        found = [(each.upper(), item[each]) for each in METHODS if each in item]
        found += list(_member(item, "additionalOperations").items())
        for method, operation in found:
            if not _METHOD.fullmatch(method):
                self.notes.append(f"{method} {path} is left out: a method has 1 to 16 capitals.")
            elif not isinstance(operation, dict):
                self.notes.append(f"{method} {path} is left out: it is not a mapping.")
            else:
                yield method, operation

    def _operation(
        self, path: str, method: str, item: Object, operation: Object, shared: dict[str, Parameter]
    ) -> Operation:
        own = self._parameters(operation.get("parameters"), path)
        tags = operation.get("tags")
        security = operation.get("security", self._root.get("security"))
        alternatives = [each for each in security if isinstance(each, dict)] if _is_list(security) else []
        servers = operation.get("servers") or item.get("servers") or self._root.get("servers")
        return Operation(
            method,
            self._prefix(servers) + path,
            _text(operation.get("operationId")) or f"{method} {path}",
            _text(tags[0]) if _is_list(tags) and tags else "",
            self._scopes(alternatives),
            # No word on security is no word on openness: most documents leave it out.
            security is None or (bool(alternatives) and all(alternatives)),
            tuple((shared | own).values()),
        )

    def _scopes(self, alternatives: list[dict[str, Any]]) -> tuple[str, ...]:
        required: list[frozenset[str]] = []
        for alternative in alternatives:
            found = frozenset(
                _text(scope)
                for name, scopes in alternative.items()
                if _text(_member(self._schemes, name).get("type")) in ("oauth2", "openIdConnect")
                and _is_list(scopes)
                for scope in scopes
            )
            required.append(found)
        return tuple(sorted(frozenset.intersection(*required))) if required else ()

    def _prefix(self, servers: Any) -> str:
        if self._base_path is not None:
            return self._base_path.rstrip("/")
        if self._is_swagger:
            return _text(self._root.get("basePath")).rstrip("/")
        if not _is_list(servers) or not servers:
            return ""
        prefixes = [self._path_of(each) for each in servers if isinstance(each, dict)]
        if len(set(prefixes)) > 1:
            self.notes.append(
                f"The servers have the paths {', '.join(sorted(each or '/' for each in set(prefixes)))}: the "
                "first is taken; --base-path names another."
            )
        return prefixes[0] if prefixes else ""

    def _path_of(self, server: Object) -> str:
        variables = _member(server, "variables")
        url = _VARIABLE.sub(
            lambda found: _text(_member(variables, found[1]).get("default")), _text(server.get("url"))
        )
        try:
            return urlsplit(url).path.rstrip("/")
        except ValueError:
            self.notes.append(f"The server {url!r} is no URL: no path of it is taken.")
            return ""

    def _parameters(self, written: Any, path: str) -> dict[str, Parameter]:
        found: dict[str, Parameter] = {}
        for each in written if _is_list(written) else ():
            parameter = self._resolved(each, path)
            if parameter is not None and _text(parameter.get("in")) == "query":
                name = _text(parameter.get("name"))
                found[name] = Parameter(name, parameter.get("required") in (True, "true"))
        return found

    def _resolved(self, written: Any, path: str) -> Object | None:
        """An object, found where a reference inside the document points (RFC 6901)."""
        for _ in range(_MAX_REFERENCES):
            if not isinstance(written, dict):
                break
            pointer = written.get("$ref")
            if pointer is None:
                return written
            if not isinstance(pointer, str) or not pointer.startswith("#/"):
                self.notes.append(
                    f"{path}: {pointer!r} is in another file, which is not read; bundle them first."
                )
                return None
            target: Any = self._root
            for part in pointer[2:].split("/"):
                name = part.replace("~1", "/").replace("~0", "~")
                target = target.get(name) if isinstance(target, dict) else None
            written = target
        self.notes.append(f"{path}: a part of it is left out, which is no mapping.")
        return None


def _member(mapping: Object, name: str) -> dict[str, Any]:
    found = mapping.get(name)
    return found if isinstance(found, dict) else {}


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
