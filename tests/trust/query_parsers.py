# SPDX-License-Identifier: Apache-2.0
"""How servers read a query: models of those that are not here, and the real parsers of those that are.

The models say what their documentation and sources say, in the loosest setting that is a default somewhere.
Each returns all values that an app could find under a parameter's name, as strings.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote_to_bytes

from testing.unavailable import needed_program

Found = list[str]
# Takes pairs of a query and a parameter's name, and a folder to write in; of each, the lists that it finds.
RealParser = Callable[[Sequence[tuple[str, str]], Path], list[list[Found]]]


def _decode(raw: str) -> str:
    return unquote_to_bytes(raw.replace("+", " ")).decode("utf-8", "replace")


def _parts(query: str, separators: str = "&") -> list[tuple[str, str]]:
    pairs = [each.partition("=") for each in re.split(f"[{separators}]", query) if each]
    return [(name, value) for name, _, value in pairs]


def php(query: str, wanted: str) -> Found:
    """PHP's `$_GET`: spaces in front are cut, ` `, `.` and an unmatched `[` become `_`, NUL ends a name."""
    found = []
    for raw_name, raw_value in _parts(query):
        name = _decode(raw_name).lstrip(" ").partition("\0")[0]
        bracket = name.find("[")
        base = name
        if bracket > 0 and "]" in name[bracket:]:
            base = name[:bracket]
        elif bracket > 0:
            base = name[:bracket] + "_" + name[bracket + 1 :]
        if base.replace(".", "_").replace(" ", "_") == wanted:
            found.append(_decode(raw_value))
    return found


def rack(query: str, wanted: str) -> Found:
    """Rack and Rails: brackets in front are cut, as is everything behind the name; `;` separated for long."""
    found = []
    for raw_name, raw_value in _parts(query, "&;"):
        matched = re.match(r"[\[\]]*([^\[\]]+)\]*", _decode(raw_name).strip())
        if matched and matched[1] == wanted:
            found.append(_decode(raw_value))
    return found


def express(query: str, wanted: str) -> Found:
    """Express' `qs`: brackets make arrays and objects, `[a]` alone is `a`; with allowDots, dots do too."""
    found = []
    for raw_name, raw_value in _parts(query):
        name = _decode(raw_name)
        parent = name[: name.index("[")] if "[" in name else name
        inner = re.match(r"\[([^\[\]]*)\]", name)
        if wanted in {parent, parent.partition(".")[0], inner[1] if inner else None}:
            found.append(_decode(raw_value))
    return found


def flask(query: str, wanted: str) -> Found:
    """Werkzeug, Django and Starlette: `request.args`, all values in order."""
    return [value for name, value in parse_qsl(query, keep_blank_values=True) if name == wanted]


def aspnet(query: str, wanted: str) -> Found:
    """ASP.NET: names in any case."""
    return [_decode(value) for name, value in _parts(query) if _decode(name).lower() == wanted.lower()]


def servlet(query: str, wanted: str) -> Found:
    """Java servlets: `;` starts path parameters in some containers, and separates in some old ones."""
    return [_decode(value) for name, value in _parts(query, "&;") if _decode(name).strip() == wanted]


def twice(query: str, wanted: str) -> Found:
    """A server behind another decoder: everything decoded once more."""
    return [_decode(_decode(value)) for name, value in _parts(query) if _decode(_decode(name)) == wanted]


MODELS = (php, rack, express, flask, aspnet, servlet, twice)

_NODE = """
const querystring = require('querystring');
const lines = require('fs').readFileSync(0, 'utf8').split('\\n').filter(x => x);
for (const line of lines) {
  const {query, name} = JSON.parse(line);
  const found = [].concat(querystring.parse(query)[name] ?? []);
  console.log(JSON.stringify([found, new URLSearchParams(query).getAll(name)]));
}
"""
_GO = """
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
)

func main() {
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		var asked struct{ Query, Name string }
		if json.Unmarshal(in.Bytes(), &asked) != nil {
			panic(in.Text())
		}
		// A handler that does not look at the error gets what was read so far.
		found, _ := url.ParseQuery(asked.Query)
		values := found[asked.Name]
		if values == nil {
			values = []string{}
		}
		said, _ := json.Marshal([][]string{values})
		fmt.Println(string(said))
	}
}
"""


def by_node(asked: Sequence[tuple[str, str]], folder: Path) -> list[list[Found]]:
    """What Node's `querystring` and `URLSearchParams` find."""
    program = needed_program("node", tests="real parsers")
    return _ask([program, "-e", _NODE], asked)


def by_go(asked: Sequence[tuple[str, str]], folder: Path) -> list[list[Found]]:
    """What Go's `net/url` finds."""
    program = needed_program("go", tests="real parsers")
    (folder / "main.go").write_text(_GO)
    return _ask([program, "run", str(folder / "main.go")], asked)


def _ask(command: list[str], asked: Sequence[tuple[str, str]]) -> list[list[Found]]:
    lines = "".join(json.dumps({"query": query, "name": name}) + "\n" for query, name in asked)
    done = subprocess.run(command, input=lines, capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]
