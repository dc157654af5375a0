# SPDX-License-Identifier: Apache-2.0
"""What we print and what we read, held against the parser that people apply it with: kubectl's own.

`kubectl patch --local` reads YAML, changes nothing and prints JSON, without an API server.
"""

from __future__ import annotations

import json
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from watchword.cli.yaml_output import quoted, scalar, to_yaml
from watchword.trust.strict_yaml import Unreadable, read_documents

ROOT = Path(__file__).parents[2]
SHIPPED = sorted([*ROOT.glob("manifests/**/*.yaml"), *ROOT.glob("charts/*/files/**/*.yaml")])
KUBECTL = Path(sysconfig.get_path("scripts"), "kubectl")
HEAD = {"apiVersion": "example.test/v1", "kind": "Setting", "metadata": {"name": "a"}}
# From the field: a country, a build's number, a commit, a mode, a release, a shift, a version, a day.
LIKE_OTHERS = [
    "y", "n", "Y", "N", "yes", "No", "on", "OFF", "true", "False", "null", "Null", "~", "", "none", "nil",
    "1e3", "7e8", "1234e56", "08", "0o17", "0440", "0x1F", "0b11", "1_000", "+_050.", "12:30", "1:30:00",
    "2026-10-01",
    "2026-10-01T00:00:00Z", "2001-12-14 21:59:43.10 -5", ".5", "1.", "-.5", "+5", "-0", "1.5",
    ".inf", "-.INF", ".NaN", "nan", "inf", "=", "<<", "-", "--", "---", "...", "?", ":", "#", "&a", "*a",
    "!a", "@", "`", "|", ">", "%", "{", "[", "a: b", "a #b", " a", "a ", "a\nb", "\t", "'", '"', "\\",
    "\x7f", "\x85", "é", "😀", "\u2028",
]  # fmt: skip


def kubectl(text: str) -> Any:
    """The `spec` that kubectl reads."""
    command = [
        str(KUBECTL),
        "patch",
        "--local",
        "--type=merge",
        "--patch={}",
        "--filename=-",
        "--output=json",
    ]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["spec"]


def bare(values: list[str]) -> str:
    lines = [f"  k{place}: {value}" for place, value in enumerate(values)]
    return "\n".join([to_yaml(HEAD).rstrip(), "spec:", *lines, ""])


def test_text_that_looks_like_something_else_stays_text_as_a_value_and_as_a_key() -> None:
    spec = {"values": LIKE_OTHERS, "keys": dict.fromkeys(LIKE_OTHERS, "x")}
    assert kubectl(to_yaml({**HEAD, "spec": spec})) == spec
    assert read_documents(to_yaml({**HEAD, "spec": spec}).encode()) == [{**HEAD, "spec": spec}]


@pytest.mark.parametrize("text", LIKE_OTHERS)
def test_one_scalar_is_text_for_the_parsers_of_yaml_1_1_and_for_kubectl(text: str) -> None:
    for written in (scalar(text), quoted(text)):
        assert "\n" not in written
        assert yaml.safe_load(f"{written}: {written}") == {text: text}
    assert kubectl(bare([scalar(text), quoted(text)])) == {"k0": text, "k1": text}


# A failing list names its members itself; making it smaller would start kubectl thousands of times.
WITHOUT_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
# No parser takes these in a document, quoted or not: not a character, or forbidden by YAML.
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\ufeff"), max_size=12)
# What numbers, booleans, times and escapes are made of, so that most of what is drawn nearly is one.
NEARLY = st.text(st.sampled_from("0123456789+-._eExXoObBaAfFnNyYtTzZ:~ "), max_size=9)


@settings(max_examples=12, deadline=None, phases=WITHOUT_SHRINKING)
@given(st.lists(TEXT | NEARLY, min_size=100, max_size=300))
def test_any_text_that_is_printed_is_the_same_text_for_kubectl(texts: list[str]) -> None:
    read = kubectl(to_yaml({**HEAD, "spec": {"texts": texts}}))["texts"]
    assert [(text, found) for text, found in zip(texts, read, strict=True) if text != found] == []
    alone = kubectl(bare([scalar(text) for text in texts]))
    assert [(text, alone[f"k{n}"]) for n, text in enumerate(texts) if text != alone[f"k{n}"]] == []


NUMBERS = st.one_of(
    st.from_regex(r"[-+]?(0[bBoOxX]?)?[0-9_]{1,21}", fullmatch=True),
    st.from_regex(r"[-+]?[0-9_]{0,4}\.?[0-9_]{0,4}([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.from_regex(r"(y|n|yes|no|on|off|true|false|null|~){1,2}", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}[-:][0-9]{1,2}[-:][0-9]{1,2}", fullmatch=True),
).filter(lambda text: text.strip("-") != "")


@settings(max_examples=12, deadline=None, phases=WITHOUT_SHRINKING)
@given(st.lists(NUMBERS, min_size=200, max_size=400))
def test_a_bare_scalar_means_to_us_what_it_means_to_kubectl(values: list[str]) -> None:
    text = bare(values)
    [ours] = read_documents(text.encode())  # type: ignore[misc]  # what is no list fails here
    theirs = kubectl(text)
    # What JSON leaves out for null, the type of each value included.
    both = [(ours["spec"][f"k{n}"], _as_python(theirs.get(f"k{n}"))) for n in range(len(values))]
    found = [
        (value, *pair) for value, pair in zip(values, both, strict=True) if repr(pair[0]) != repr(pair[1])
    ]
    assert found == []


def _as_python(value: object) -> object:
    # Go writes a float without a fraction as an integer.
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e21 else value


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_is_shipped_means_the_same_to_parsers_that_differ(file: Path) -> None:
    """PyYAML takes `n` and `7e8` for text, and kubectl does not: where both agree, all do."""
    text = file.read_text()
    assert _typed(read_documents(text.encode())) == _typed(list(yaml.safe_load_all(text)))


def _typed(value: object) -> str:
    return json.dumps(value, sort_keys=True, default=str)


@pytest.mark.parametrize("value", [".inf", "-.Inf", ".NAN", "9" * 401, "0x" + "f" * 500])
def test_a_number_that_no_api_server_holds_is_refused_and_named(value: str) -> None:
    found = read_documents(f"a: {value}".encode())
    assert isinstance(found, Unreadable)
    assert "quote it if it is text" in found.detail
