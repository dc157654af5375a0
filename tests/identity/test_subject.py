# SPDX-License-Identifier: Apache-2.0
"""A subject is exactly a namespace and a name, or it is none: no text may be read as another's."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watchword.identity import Subject, is_namespace_name, is_service_account_name, parse_subject

unhurried = settings(deadline=None, max_examples=500)
PREFIX = "system:serviceaccount:"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

WELL_FORMED = [
    ("default:default", "default", "default"),
    ("a:b", "a", "b"),
    ("0:0", "0", "0"),
    ("a-b:c-d", "a-b", "c-d"),
    ("kube-system:cert-manager.io", "kube-system", "cert-manager.io"),
    ("n:a.b-c.d", "n", "a.b-c.d"),
    (f"{'n' * 63}:x", "n" * 63, "x"),
    (f"n:{'x' * 253}", "n", "x" * 253),
]
MALFORMED = [
    "",
    ":",
    "a",
    "a:",
    ":a",
    "a:b:c",
    "a::b",
    "a:b:",
    ":a:b",
    "A:b",
    "a:B",
    "a_b:c",
    "a:b_c",
    "-a:b",
    "a-:b",
    "a:-b",
    "a:b-",
    "a.b:c",
    "a:.b",
    "a:b.",
    "a:b..c",
    "a:b.-c",
    "a:b-.c",
    "a:b/c",
    "a:*",
    "*:b",
    "a:b*",
    "a :b",
    "a: b",
    "a:b\n",
    "a:b\r",
    "a:b\0",
    "a:b ",
    "a:b%2e",
    "а:b",
    "a:е",
    "a:ß",
    "a:١",
    f"{'n' * 64}:x",
    f"n:{'x' * 254}",
]


@pytest.mark.parametrize(("rest", "namespace", "name"), WELL_FORMED)
def test_a_well_formed_subject_is_its_two_names(rest: str, namespace: str, name: str) -> None:
    assert parse_subject(PREFIX + rest) == Subject(namespace, name)


@pytest.mark.parametrize("rest", MALFORMED)
def test_a_subject_that_is_not_quite_one_is_none(rest: str) -> None:
    assert parse_subject(PREFIX + rest) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a:b",
        "admin",
        "system:serviceaccount",
        PREFIX,
        "system:serviceaccounts:a:b",
        "System:serviceaccount:a:b",
        "system:ServiceAccount:a:b",
        " system:serviceaccount:a:b",
        "\nsystem:serviceaccount:a:b",
        "x system:serviceaccount:a:b",
        "system:serviceaccount:a:b system:serviceaccount:a:c",
        "system:node:node-1",
        "system:anonymous",
        PREFIX + PREFIX + "a:b",
    ],
)
def test_what_is_no_service_account_is_none(text: str) -> None:
    assert parse_subject(text) is None


# Written from the words of RFC 1123 and Kubernetes' "Object Names and IDs", not from the pattern under test.
def is_label(text: str) -> bool:
    inside = set(text) <= set(LETTERS + "-")
    return 0 < len(text) <= 63 and inside and text[0] != "-" != text[-1]


def is_subdomain(text: str) -> bool:
    parts = text.split(".")
    return len(text) <= 253 and all(
        part and set(part) <= set(LETTERS + "-") and part[0] != "-" != part[-1] for part in parts
    )


NEARLY = st.text(alphabet="ab0-.:A_*\n/ é", max_size=12)


@unhurried
@given(NEARLY | st.text(max_size=10))
@example("a" * 63)
@example("a" * 64)
def test_a_namespace_is_a_label(text: str) -> None:
    assert is_namespace_name(text) == is_label(text)


@unhurried
@given(NEARLY | st.text(max_size=10))
@example("a" * 253)
@example("a" * 254)
@example("a." * 126 + "a")
def test_a_service_account_is_a_subdomain(text: str) -> None:
    assert is_service_account_name(text) == is_subdomain(text)


@unhurried
@given(NEARLY, NEARLY)
def test_two_names_make_a_subject_only_when_each_stands_alone(namespace: str, name: str) -> None:
    parsed = parse_subject(f"{PREFIX}{namespace}:{name}")
    expected = Subject(namespace, name) if is_label(namespace) and is_subdomain(name) else None
    assert parsed == expected


@unhurried
@given(st.text(alphabet="ab-.:sytem", max_size=40).map(lambda text: PREFIX + text) | st.text())
def test_a_subject_that_was_read_writes_the_same_text(text: str) -> None:
    parsed = parse_subject(text)
    assert parsed is None or str(parsed) == text


@pytest.mark.parametrize("near", ["cert-managerXio", "cert-manager-io", "cert-manager.i", "cert-manager.ioo"])
def test_a_dot_in_a_name_is_a_dot_and_no_pattern(near: str) -> None:
    # CVE-2026-39350: the pattern would have matched all but the last two.
    trusted = parse_subject(PREFIX + "kube-system:cert-manager.io")
    assert parse_subject(f"{PREFIX}kube-system:{near}") != trusted


def test_a_long_hostile_name_costs_no_backtracking() -> None:
    for shape in ("a" * 8000 + "!", "a-" * 4000, "a." * 4000 + "!", "a-a." * 2000 + "-"):
        assert parse_subject(PREFIX + "n:" + shape) is None
