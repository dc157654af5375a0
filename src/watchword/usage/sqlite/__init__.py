# SPDX-License-Identifier: Apache-2.0
"""The usage store in one SQLite file."""
