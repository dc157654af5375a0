# SPDX-License-Identifier: Apache-2.0
"""What any server takes for one segment folds to one, against real Java and Node over all characters."""

from __future__ import annotations

import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest

from testing.unavailable import skip_or_fail
from watchword.trust.path_folding import fold_segment

# Pairs of code points that are one: `equalsIgnoreCase` for each character and what it is compared by, and
# both cases of whole strings in two locales.
_JAVA = """
import java.util.*;
public class Pairs {
  public static void main(String[] given) {
    StringBuilder out = new StringBuilder();
    Locale turkish = Locale.forLanguageTag("tr");
    for (int c = 1; c < 0x1F000; c++) {
      if (Character.getType(c) == Character.SURROGATE) continue;
      String one = new String(Character.toChars(c));
      Set<String> others = new LinkedHashSet<>();
      for (int each : new int[] {Character.toUpperCase(c), Character.toLowerCase(c),
          Character.toLowerCase(Character.toUpperCase(c))}) {
        String other = new String(Character.toChars(each));
        if (one.equalsIgnoreCase(other)) others.add(other);
      }
      for (char letter = 'a'; letter <= 'z'; letter++) {
        if (one.equalsIgnoreCase("" + letter)) others.add("" + letter);
      }
      for (Locale where : new Locale[] {Locale.ROOT, turkish}) {
        others.add(one.toUpperCase(where));
        others.add(one.toLowerCase(where));
      }
      for (String other : others) {
        out.append(hex(one)).append(' ').append(hex(other)).append('\\n');
      }
    }
    System.out.print(out);
  }
  static String hex(String text) {
    StringJoiner found = new StringJoiner(",");
    text.codePoints().forEach(each -> found.add(Integer.toHexString(each)));
    return found.toString();
  }
}
"""
_NODE = """
const out = [];
const hex = text => [...text].map(each => each.codePointAt(0).toString(16)).join(",");
for (let c = 1; c < 0x1F000; c++) {
  if (c >= 0xD800 && c < 0xE000) continue;
  const one = String.fromCodePoint(c);
  for (const other of [one.toUpperCase(), one.toLowerCase()]) out.push(hex(one) + " " + hex(other));
  for (let letter = 97; letter < 123; letter++) {
    const other = String.fromCharCode(letter);
    if (new RegExp("^" + other + "$", "iu").test(one)) out.push(hex(one) + " " + hex(other));
  }
}
console.log(out.join("\\n"));
"""


def text(codes: str) -> str:
    return "".join(chr(int(each, 16)) for each in codes.split(","))


def pairs(command: list[str]) -> set[tuple[str, str]]:
    found = subprocess.run(command, capture_output=True, check=True, timeout=120, text=True).stdout
    return {
        (text(one), text(other)) for one, other in (line.split(" ") for line in found.split("\n") if line)
    }


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        skip_or_fail(
            f"{name} tests", FileNotFoundError(name), required_by=f"WATCHWORD_REQUIRE_{name.upper()}"
        )
    return found


def unlike(found: set[tuple[str, str]]) -> list[str]:
    # A newer table of characters than ours may pair what ours does not know.
    known = {pair for pair in found if all(unicodedata.category(each) != "Cn" for each in "".join(pair))}
    assert len(known) > 2000
    return [f"{one!a} {other!a}" for one, other in sorted(known) if fold_segment(one) != fold_segment(other)]


def test_what_java_takes_for_one_is_one(tmp_path: Path) -> None:
    source = tmp_path / "Pairs.java"
    source.write_text(_JAVA)
    found = pairs([program("java"), "-Dstdout.encoding=UTF-8", str(source)])
    assert {("\u0131", "i"), ("\u0130", "i"), ("\u212a", "k"), ("\u017f", "s")} <= found
    assert unlike(found) == []


def test_what_node_takes_for_one_is_one(tmp_path: Path) -> None:
    source = tmp_path / "pairs.js"
    source.write_text(_NODE)
    found = pairs([program("node"), str(source)])
    assert ("\u212a", "k") in found
    assert unlike(found) == []


def test_what_python_takes_for_one_is_one() -> None:
    found = {
        (chr(code), other)
        for code in range(0x1F000)
        for other in (chr(code).upper(), chr(code).lower(), chr(code).casefold())
        if not 0xD800 <= code < 0xE000
    }
    assert unlike(found) == []


@pytest.mark.parametrize(
    "name", ["a", "A", "b", "a-b", "a.b", ".a", "é", "e", "..a", "a b", "\u4e2d", "…", "a…"]
)
def test_folding_takes_no_other_names_for_one(name: str) -> None:
    others = {"a", "b", "a-b", "a.b", ".a", "é", "e", "..a", "a b", "\u4e2d", "x"}
    folded = fold_segment(name)
    assert folded
    assert fold_segment(folded) == folded
    assert {each for each in others if fold_segment(each) == folded} <= {name.lower()} | (
        {"a"} if "…" in name else set()
    )


@pytest.mark.parametrize(
    "name",
    [
        "admin.",
        "admin ",
        "adm\u200bin",
        "\ufeffadmin",
        "ad\u00admin",
        "admin. .",
        "ADMIN\u3000",
        "\uff21dmin",
    ],
)
def test_what_windows_and_normalizing_servers_pass_over_is_passed_over(name: str) -> None:
    assert fold_segment(name) == "admin"


@pytest.mark.parametrize("name", ["...", " ", ". ", "\u2026"])
def test_a_segment_of_nothing_else_is_still_one(name: str) -> None:
    assert fold_segment(name)


_AROUND = [
    *" \t\u00a0\u0085\u1680\u2000\u200a\u2028\u2029\u202f\u205f\u3000",
    *"\u115f\u1160\u17b4\u17b5\u180b\u180e\u180f\u200b\u3164\ufeff\uffa0\ufff0\U0001bca0\U0001d173\U000e0001\U000e0100",
]


@pytest.mark.parametrize("one", _AROUND, ids=[f"U+{ord(each):04X}" for each in _AROUND])
def test_what_has_no_shape_around_a_segment_is_passed_over(one: str) -> None:
    for text in (f"admin{one}", f"{one}admin", f"Admin{one}{one}.", f"{one}{one}ADMIN{one}"):
        assert fold_segment(text) == "admin"
    assert fold_segment(one) != ""
