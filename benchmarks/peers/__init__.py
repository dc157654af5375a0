# SPDX-License-Identifier: Apache-2.0
"""The gate next to what people would take in its place: the same tokens, the same work, one core each."""
