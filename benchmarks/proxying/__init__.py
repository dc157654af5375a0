# SPDX-License-Identifier: Apache-2.0
"""The gate with `--upstream` next to other proxies that check a token: the same app, callers and load."""
