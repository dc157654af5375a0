# SPDX-License-Identifier: Apache-2.0
"""Helm beside the API servers of this folder's tests."""

from tests.charts.conftest import helm

__all__ = ["helm"]
