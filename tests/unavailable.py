# SPDX-License-Identifier: Apache-2.0
"""What becomes of tests whose programs are not to be had: skipped aloud, or failed where that must not be.

A suite that skips what it is for must not pass for a green one.
"""

from __future__ import annotations

import os
from typing import NoReturn

import pytest

from tests.controlplane import BuildFailed


def skip_or_fail(tests: str, problem: Exception, *, required_by: str) -> NoReturn:
    """Skip, or fail where the environment variable `required_by` is 1; `tests` says of which tests."""
    # A build that broke is news even on a machine where the tests may be skipped.
    if isinstance(problem, BuildFailed) or os.environ.get(required_by) == "1":
        pytest.fail(f"{tests} cannot run: {problem}", pytrace=False)
    pytest.skip(f"{tests.upper()} SKIPPED: {problem}")
