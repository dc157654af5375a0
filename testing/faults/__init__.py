# SPDX-License-Identifier: Apache-2.0
"""Faults that tests make on purpose."""
