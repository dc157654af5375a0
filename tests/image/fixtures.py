# SPDX-License-Identifier: Apache-2.0
"""`images`: the images of this checkout as OCI archives, for tests of them and for pods that run them.

Steps whose input has not changed come from the user's cache folder; a first build takes about a minute, and
who asks meanwhile in another process waits for it instead of doing the same.
"""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path

import pytest

from image.__main__ import build_into, cache_folder, reference
from image.build import FLAVOURS
from image.debian import ImageUnavailableError
from testing.unavailable import skip_or_fail

EPOCH = 1_700_000_000  # the time in the images of tests: a commit is then no reason to build anew


@dataclass(frozen=True, slots=True)
class Images:
    """Archives by flavour: `gate`, `operator`, `demo`; bills of materials lie beside them."""

    archives: dict[str, Path]

    @property
    def gate(self) -> str:
        """The gate's name, for a Pod."""
        return reference("gate")

    @property
    def operator(self) -> str:
        """The operator's name."""
        return reference("operator")

    @property
    def demo(self) -> str:
        """The name of the image with an app and a caller."""
        return reference("demo")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """The three images; skips, or fails with `WATCHWORD_REQUIRE_NODE=1`, where they cannot be built."""
    folder, cache = tmp_path_factory.mktemp("images"), cache_folder()
    cache.mkdir(parents=True, exist_ok=True)
    try:
        with (cache / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return Images(build_into(folder, list(FLAVOURS), epoch=EPOCH, layers=cache / "layers"))
    except ImageUnavailableError as problem:
        skip_or_fail("image tests", problem, required_by="WATCHWORD_REQUIRE_NODE")
