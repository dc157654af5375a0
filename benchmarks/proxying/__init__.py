# SPDX-License-Identifier: Apache-2.0
"""The gate with `--upstream` beside other proxies that check a token: the same app, callers and load."""
