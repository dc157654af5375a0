# SPDX-License-Identifier: Apache-2.0
"""YAML that every parser reads alike: text that another parser could take for something else is quoted.

What we print is applied with kubectl and Helm, which read YAML 1.1 and not what PyYAML reads: a bare `n` is
false there, `7e8` a number and `0o17` fifteen.
"""

from typing import Any

import yaml

from watchword.trust.yaml_scalars import must_be_quoted


class PortableDumper(yaml.SafeDumper):
    """Writes YAML that every parser reads alike, without anchors."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write each value out; an anchor is refused by our own reader."""
        del data
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if must_be_quoted(text) else None)


PortableDumper.add_representer(str, _text)


def to_yaml(document: Any) -> str:
    """One document in block style, members in their order, with a line break at its end."""
    return str(yaml.dump(document, Dumper=PortableDumper, sort_keys=False))


def scalar(text: str) -> str:
    """Text as one scalar on one line, quoted unless it is a word that no parser takes for anything else."""
    is_word = text.isascii() and text.replace("_", "a").isalnum()
    return text if is_word and not must_be_quoted(text) else quoted(text)


def quoted(text: str) -> str:
    """Text as one double-quoted scalar on one line."""
    dumped: str = yaml.dump(text, Dumper=PortableDumper, default_style='"', width=float("inf"))
    return dumped.strip()
