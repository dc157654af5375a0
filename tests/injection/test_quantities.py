# SPDX-License-Identifier: Apache-2.0
"""Quantities mean what they mean to Kubernetes, and nothing else is one."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.injection.quantities import quantity


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", "1"),
        ("1000m", "1"),
        (2, "2"),
        (0.5, "0.5"),
        ("1e3", "1000"),
        ("1E-3", "0.001"),
        ("1E", "1000000000000000000"),
        ("1.5Gi", "1610612736"),
        ("64Mi", "67108864"),
        ("128M", "128000000"),
        (".5", "0.5"),
        ("+1", "1"),
        ("100u", "0.0001"),
        ("5n", "5E-9"),
    ],
)
def test_a_quantity_is_its_number(text: Any, number: str) -> None:
    assert quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    "value", ["", "m", "1 Gi", "1gi", "1KB", "0x10", "1e", "1e400", "NaN", True, None, [], "٣", "1" * 64]
)
def test_what_is_none_is_no_number(value: Any) -> None:
    assert quantity(value) is None


@given(
    st.one_of(
        st.text(), st.floats(), st.integers(), st.from_regex(r"[0-9.+-]{1,8}[a-zA-Z]{0,2}", fullmatch=True)
    )
)
def test_no_value_raises(value: Any) -> None:
    found = quantity(value)
    assert found is None or found.is_finite()
