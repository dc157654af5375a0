# SPDX-License-Identifier: Apache-2.0
"""A running desk with its admin port."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from testing.running_desk import RunningDesk, Source, running_desk
from tests.desk.admin.world import objects


@pytest.fixture
def desk() -> Iterator[RunningDesk]:
    """A desk without limits on rates."""
    source = Source()
    source.objects = objects()
    with running_desk(source, admin_listen="127.0.0.1:0", admin_calls_per_second=0) as running:
        yield running
