# SPDX-License-Identifier: Apache-2.0
"""manifests/crds/*.yaml: the CustomResourceDefinitions, as `kubectl apply` takes them."""

import yaml

from watchword.cli.yaml_output import PortableDumper
from watchword.trust.crd.definitions import KINDS, Kind, definition

_HEAD = """\
# SPDX-License-Identifier: Apache-2.0
# Generated from src/watchword/trust (`make generate`). Edit the types there, not this file.
"""


class _Dumper(PortableDumper):
    """YAML as people write it: list items are indented below their key."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: ARG002  # PyYAML's
        super().increase_indent(flow, False)


def file_name(kind: Kind) -> str:
    """The name of a kind's file."""
    return f"{kind.plural}.yaml"


def as_yaml(*documents: object) -> str:
    """Documents as the text of one file."""
    return "---\n".join(
        yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
        for document in documents
    )


def page(kind: Kind) -> str:
    """The file's text."""
    return _HEAD + as_yaml(definition(kind))


FILES = {file_name(kind): kind for kind in KINDS}
