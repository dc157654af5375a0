# SPDX-License-Identifier: Apache-2.0
"""What every kind asks of its lists, texts and labels: no entry twice, nothing that cannot be seen.

An entry that is listed twice was meant to be another one. A text with a line break in it reads as one
thing in a terminal and as another in a log.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from watchword.trust.api.v1alpha1 import LabelSelector
from watchword.trust.api.v1alpha1.grammar import LABEL_NAME, LABEL_VALUE, OBJECT_NAME, is_whole
from watchword.trust.api.v1alpha1.validation import Finding

_MAX_LABEL_PREFIX = 253


def findings_of_repeats(path: str, values: Iterable[str]) -> Iterator[Finding]:
    """Each value that stands there more than once."""
    for value, times in Counter(values).items():
        if times > 1:
            yield path, f"{value!r} is listed twice", "keep one"


def findings_of_breaks(path: str, values: Iterable[str]) -> Iterator[Finding]:
    """Each value that is not printable, though its pattern matched."""
    # `$` ends a pattern before a last line break too in Python, though not in the API server's RE2.
    for value in values:
        if not value.isprintable():
            yield path, f"{value!r} holds a line break", "remove it"


def findings_of_name(path: str, name: str) -> Iterator[Finding]:
    """What is wrong with the name of another object."""
    if not is_whole(OBJECT_NAME, name):
        yield path, "not the name of an object", "use lower-case letters, digits, `-` and `.`"


def findings_of_labels(path: str, selector: LabelSelector) -> Iterator[Finding]:
    """Labels that no object can have: a selector with one would be refused, or match nothing."""
    for name, value in selector.match_labels.items():
        is_name = is_whole(LABEL_NAME, name) and name.find("/") <= _MAX_LABEL_PREFIX
        if not is_name or not is_whole(LABEL_VALUE, value):
            remedy = (
                "use names such as app.kubernetes.io/name, and values of letters, digits, `-`, `_` and `.`"
            )
            yield f"{path}.matchLabels", f"{name!r}: {value!r} is not a label", remedy
