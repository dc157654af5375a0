# SPDX-License-Identifier: Apache-2.0
"""What becomes of tests whose programs are not to be had: skipped aloud, or failed where that must not be.

A suite that skips what it is for must not pass for a green one.
"""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

from testing.controlplane import BuildFailedError


def skip_or_fail(tests: str, problem: Exception | str, *, required_by: str) -> NoReturn:
    """Skip, or fail where the environment variable `required_by` is 1; `tests` says of which tests."""
    # A build that broke is news even on a machine where the tests may be skipped.
    if isinstance(problem, BuildFailedError) or os.environ.get(required_by) == "1":
        pytest.fail(f"{tests} cannot run: {problem}", pytrace=False)
    pytest.skip(f"{tests.upper()} SKIPPED: {problem}")


def needed_program(
    name: str, *, tests: str, required_by: str = "WATCHWORD_REQUIRE_PROGRAMS", path: str | None = None
) -> str:
    """A program's path; skips or fails as `skip_or_fail` does where it is not installed.

    Args:
        name: of the command.
        tests: which tests need it.
        required_by: the environment variable that forbids to skip.
        path: where it is looked for, if not in PATH.
    """
    found = shutil.which(name, path=path)
    if found is None:
        skip_or_fail(tests, f"{name} is not installed", required_by=required_by)
    return found
