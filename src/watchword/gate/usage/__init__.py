# SPDX-License-Identifier: Apache-2.0
"""The gate's usage API: events in, the read model out."""
