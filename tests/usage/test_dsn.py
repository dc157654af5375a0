# SPDX-License-Identifier: Apache-2.0
"""A gate pays for no driver that its DSN does not ask for, and is told which one is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

DRIVERS = ("psycopg", "psycopg_pool", "yoyo", "clickhouse_connect", "pyarrow", "rich")


def run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_gate_on_sqlite_imports_no_driver() -> None:
    program = f"""
import sys
import watchword.gate.serve
from watchword.usage import open_store
open_store("sqlite:///:memory:").close()
print(*[name for name in {DRIVERS} if name in sys.modules])
"""
    assert run(program) == ""


@pytest.mark.parametrize(
    ("scheme", "driver", "extra"),
    [("postgresql", "psycopg", "postgresql"), ("clickhouse", "clickhouse_connect", "clickhouse")],
)
def test_a_driver_that_is_not_installed_is_named_with_what_installs_it(
    scheme: str, driver: str, extra: str
) -> None:
    program = f"""
import sys
sys.modules[{driver!r}] = None
from watchword.usage import StoreRefusedError, open_store
try:
    open_store("{scheme}://u:secret@host/database")
except StoreRefusedError as refused:
    print(refused)
"""
    said = run(program)
    assert f"pip install 'watchword[{extra}]'" in said
    assert "secret" not in said
