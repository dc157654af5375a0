# SPDX-License-Identifier: Apache-2.0
"""The command line, for people: one module a command, and `main.py` in front of them.

Importing this package imports nothing else: a sidecar that starts in a thousand pods must not pay for `pin`.
"""
