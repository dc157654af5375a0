# SPDX-License-Identifier: Apache-2.0
"""One reconcile for each kind, read from top to bottom."""
