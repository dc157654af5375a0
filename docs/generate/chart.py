# SPDX-License-Identifier: Apache-2.0
"""Pages of the chart: each value with its default and meaning, and the defaults for its templates."""

import json
from collections.abc import Iterator
from pathlib import Path

import yaml

from watchword.cli.yaml_output import to_yaml

CHART = Path(__file__).parents[2] / "charts" / "watchword"
_HEAD = """# The chart `watchword`

Generated from `values.yaml` (`make generate`). It installs the operator, the admission webhook, the
definitions of the resources, and the rights for all of it.

```sh
helm install watchword charts/watchword --namespace watchword-system --create-namespace
helm test watchword --namespace watchword-system
```

Values that are unknown or contradict each other are refused (`values.schema.json`). How to
[upgrade and uninstall](../../docs/how-to/install.md).

| value | default | meaning |
|---|---|---|
"""


_DEFAULTS = """# SPDX-License-Identifier: Apache-2.0
# Generated from values.yaml (`make generate`): for templates where an older chart's values lack one.
"""


def defaults() -> str:
    """The text of files/defaults.yaml: a template cannot read the chart's own values.yaml.

    `pods.maxUnavailable` is left out, where null means that there is no budget, and Helm drops a null.
    """
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    del values["pods"]["maxUnavailable"]
    return _DEFAULTS + to_yaml(values)


def page() -> str:
    """The page's text."""
    text = (CHART / "values.yaml").read_text()
    root = yaml.compose(text)
    if not isinstance(root, yaml.MappingNode):
        raise TypeError("values.yaml is no mapping")
    return _HEAD + "".join(_rows(root, text.splitlines(), ""))


def _rows(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[str]:
    for key, value in node.value:
        comment = _comment_above(lines, key.start_mark.line)
        name = f"{prefix}{key.value}"
        if comment and not (
            isinstance(value, yaml.MappingNode)
            and value.value
            and value.flow_style is False
            and _has_comments(value, lines)
        ):
            default = json.dumps(yaml.safe_load(yaml.serialize(value)))
            yield f"| `{name}` | `{default}` | {comment} |\n"
        elif isinstance(value, yaml.MappingNode):
            yield from _rows(value, lines, f"{name}.")
        else:
            raise ValueError(f"values.yaml: {name} has no comment")


def _has_comments(node: yaml.MappingNode, lines: list[str]) -> bool:
    return any(_comment_above(lines, key.start_mark.line) for key, _ in node.value)


def _comment_above(lines: list[str], line: int) -> str:
    found: list[str] = []
    while line > 0 and lines[line - 1].strip().startswith("#"):
        line -= 1
        found.insert(0, lines[line].strip().removeprefix("#").strip())
    return " ".join(found)
