# SPDX-License-Identifier: Apache-2.0
"""Read a folder of manifests for the commands that compile it, with problems that name file, line and
candidates."""

from pathlib import Path

import msgspec

from watchword.cli.manifest_files import read_folder
from watchword.cli.manifest_lines import with_lines
from watchword.cli.similar_names import with_candidates
from watchword.trust import Problem, Resources, parse_manifests


class Folder(msgspec.Struct, frozen=True):
    """A folder of manifests.

    Attributes:
        resources: the objects that can be read.
        problems: of the others, with their lines.
        files: the manifests by name.
    """

    resources: Resources
    problems: tuple[Problem, ...]
    files: dict[str, bytes]

    def named(self, problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
        """Problems that compiling gave, with their lines and with candidates for names that are not there."""
        return with_lines(with_candidates(problems, self.resources), self.files)


def open_folder(path: str) -> Folder:
    """Read the manifests of a folder.

    Raises:
        UnusableInput: there are none, or one cannot be read.
    """
    files = dict(read_folder(Path(path)))
    manifests = parse_manifests(files.items())
    return Folder(manifests.resources, with_lines(manifests.problems, files), files)
