# SPDX-License-Identifier: Apache-2.0
"""What a label selector selects: all labels that it names, as they are; one that names none selects all."""

from collections.abc import Mapping
from typing import Final

from watchword.trust.api.v1alpha1.fields import LabelSelector

# Every namespace has this label, whether anyone wrote it or not (Kubernetes 1.22).
_NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"


def selects(selector: LabelSelector, labels: Mapping[str, str]) -> bool:
    """Whether an object with these labels is selected."""
    return all(labels.get(name) == value for name, value in selector.match_labels.items())


def selects_namespace(selector: LabelSelector, namespace: str, labels: Mapping[str, str]) -> bool:
    """Whether a namespace is selected.

    Args:
        selector: selects by the labels of the Namespace.
        namespace: its name, which is one of its labels whatever `labels` says.
        labels: of the Namespace.
    """
    return selects(selector, {**labels, _NAMESPACE_NAME: namespace})
