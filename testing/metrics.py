# SPDX-License-Identifier: Apache-2.0
"""One number out of what a process says on `/metrics`."""


def sample_of(text: str, name: str, **labels: str) -> float | None:
    """The samples of this name that have these labels, added up; None: there is none.

    Args:
        text: the exposition.
        name: of the samples, suffixes such as `_total` included.
        labels: what they must have; labels that are not said may be anything.
    """
    found = []
    for line in text.splitlines():
        series, _, value = line.rpartition(" ")
        is_wanted = all(f'{label}="{wanted}"' in series for label, wanted in labels.items())
        if series.partition("{")[0] == name and is_wanted:
            found.append(float(value))
    return sum(found) if found else None
