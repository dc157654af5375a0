# SPDX-License-Identifier: Apache-2.0
"""Files that are no plain manifests: each is a problem, and none a crash, a hang or a silence."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from testing.manifests import service, workload
from watchword.trust import parse_manifests
from watchword.trust.strict_yaml import Unreadable, read_documents

CONFIG_MAP = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "a", "name": "b"}}
NAMESPACE = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a"}}


def problems(text: str) -> list[tuple[str, str, str]]:
    found = parse_manifests([("file.yaml", text.encode())]).problems
    return [(problem.kind, problem.field, problem.reason.value) for problem in found]


@pytest.mark.parametrize(
    "text",
    ["a: 1\na: 2", "a: &x 1", "a: &x 1\nb: *x", "a: !!binary aGk=", "!x {a: 1}", "<<: {a: 1}", "1: a",
     "? [a]\n: b",
     "[" * 65 + "]" * 65, "a: [", "a: \x00", "a: " + "9" * 5000, "a: .inf", "a: -.INF", "a: .NaN"],
)  # fmt: skip
def test_yaml_with_a_surprise_is_not_read(text: str) -> None:
    assert isinstance(read_documents(text.encode()), Unreadable)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (r'{"a": "\ud83d\ude00"}', {"a": "\U0001f600"}),
        (r'{"a": "\\ud83d\\ude00"}', {"a": r"\ud83d\ude00"}),
        (r'{"a": "\u007f\u0085"}', {"a": "\x7f\x85"}),
        ('{"a": 1e30}', {"a": 1e30}),
        ('{"a": "x\x7fy"}', {"a": "x\x7fy"}),
        ("{a: 1e30}", {"a": 1e30}),
        ("[" * 64 + "]" * 64, json.loads("[" * 64 + "]" * 64)),
    ],
)
def test_json_is_read_as_json_and_a_flow_collection_as_yaml(text: str, value: object) -> None:
    assert read_documents(text.encode()) == [value]


@pytest.mark.parametrize(
    "text",
    [
        '{"a": 1, "a": 2}',
        '{"a": NaN}',
        '{"a": -Infinity}',
        "[" * 65 + "]" * 65,
        '{"a": ' + "9" * 5000 + "}",
        r'{"a": "\ud83d"}',
        r'{"\ude00\ud83d": 1}',
        "{" + ", ".join(f'"{n}": 1' for n in range(100_000)) + ', "0": 2}',
    ],
    ids=lambda text: text[:20],
)
def test_json_with_a_surprise_is_not_read(text: str) -> None:
    assert isinstance(read_documents(text.encode()), Unreadable)


@pytest.mark.parametrize("data", [b"\xff", b"a: \xc3\x28", b" " * (4 * 1024 * 1024 + 1)])
def test_bytes_that_are_no_text_of_a_sane_size_are_not_read(data: bytes) -> None:
    assert isinstance(read_documents(data), Unreadable)


@pytest.mark.parametrize(
    ("text", "value"),
    [("12:30", "12:30"), ("1:1.5", "1:1.5"), ("2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
     ("2027-01-01", "2027-01-01"), ("8443", 8443), ("-1", -1), ("1.5", 1.5), ("true", True),
     ('"8443"', "8443")],
)  # fmt: skip
def test_a_plain_scalar_is_what_an_api_server_reads(text: str, value: object) -> None:
    assert read_documents(f"a: {text}".encode()) == [{"a": value}]


@pytest.mark.parametrize("end", ["", ".5"])
def test_a_long_number_to_the_base_sixty_is_text_and_costs_nothing(end: str) -> None:
    text = ":".join(["1"] * 100_000) + end
    assert read_documents(f"a: {text}".encode()) == [{"a": text}]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"kind": "TrustedWorkload"}, ("File", "kind", "UnknownKind")),
        ({"apiVersion": "v1"}, ("File", "kind", "UnknownKind")),
        ({"apiVersion": 1, "kind": "Pod"}, ("File", "kind", "UnknownKind")),
        ({"apiVersion": "v1", "kind": ["Pod"]}, ("File", "kind", "UnknownKind")),
        ([], ("File", "", "Unreadable")),
        ("text", ("File", "", "Unreadable")),
        ({"apiVersion": "v1", "kind": "List"}, ("File", "", "Unreadable")),
        ({"apiVersion": "v1", "kind": "List", "items": ["x"]}, ("File", "", "Unreadable")),
        (workload() | {"apiVersion": "watchword.io/v1alpha1"}, ("TrustedWorkload", "kind", "UnknownKind")),
        (CONFIG_MAP | {"data": {"jwks.json": {}}}, ("ConfigMap", "data.jwks.json", "InvalidField")),
        (
            NAMESPACE | {"metadata": {"name": "a", "labels": {"trusted": True}}},
            ("Namespace", "metadata.labels.trusted", "InvalidField"),
        ),
    ],
)
def test_what_was_meant_to_be_a_manifest_is_never_passed_over(
    document: object, expected: tuple[str, str, str]
) -> None:
    assert problems(json.dumps(document)) == [expected]


@pytest.mark.parametrize("plain", [CONFIG_MAP, NAMESPACE])
def test_of_two_plain_objects_of_one_name_the_second_is_said(plain: dict[str, Any]) -> None:
    text = f"{json.dumps(plain)}\n---\n{json.dumps(plain)}"
    assert problems(text) == [(plain["kind"], "metadata.name", "DuplicateObject")]


def test_a_label_that_is_not_text_is_no_label() -> None:
    text = json.dumps(NAMESPACE | {"metadata": {"name": "a", "labels": {"trusted": True, "team": "t"}}})
    assert parse_manifests([("f", text.encode())]).resources.namespaces == {"a": {"team": "t"}}


def test_lists_are_opened_even_within_lists() -> None:
    inner = {"apiVersion": "v1", "kind": "List", "items": [service()]}
    outer = {"apiVersion": "v1", "kind": "List", "items": [inner, workload()]}
    manifests = parse_manifests([("f", json.dumps(outer).encode())])
    assert not manifests.problems
    assert (len(manifests.resources.services), len(manifests.resources.workloads)) == (1, 1)


HUGE = f"0x{'f' * 10_000}"


@pytest.mark.parametrize(
    "text",
    [
        f"{{apiVersion: v1, kind: {HUGE}}}",
        f"{{apiVersion: {HUGE}, kind: ConfigMap}}",
        f"{{apiVersion: v1, kind: ConfigMap, metadata: {{name: a}}, data: {{a: {HUGE}}}}}",
        f"{{apiVersion: v1, kind: Namespace, metadata: {{name: a, labels: {{a: {HUGE}}}}}}}",
        f"{{apiVersion: watchword.dev/v1alpha1, kind: ProtectedService, metadata: {{name: {HUGE}}}}}",
    ],
)
def test_a_number_too_long_to_print_is_a_problem_and_no_crash(text: str) -> None:
    assert problems(text)


PIECES = st.sampled_from([
    "apiVersion: watchword.dev/v1alpha1\n", "kind: TrustedWorkload\n", "metadata:\n", "spec:\n",
    "  name: x\n", "  namespace: y\n",
    "- ", "  ", "{", "}", "[", "]", "&a ", "*a", "!!int ", ": ",
    "'", '"', "0x", "1:2", "---\n", "\t",
    "\u2028", "\u0085", "<<: ", "? ",
])  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.lists(PIECES, max_size=25).map("".join).map(str.encode)))
def test_no_file_crashes_the_reader_and_each_problem_is_one_line(data: bytes) -> None:
    for problem in parse_manifests([("file.yaml", data)]).problems:
        assert str(problem).isprintable()
