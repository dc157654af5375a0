# SPDX-License-Identifier: Apache-2.0
"""Fixtures for every folder of tests. The node is one for the whole session, whoever asks for it."""

pytest_plugins = ("tests.image.fixtures", "tests.node.fixtures")
