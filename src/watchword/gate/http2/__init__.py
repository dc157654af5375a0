# SPDX-License-Identifier: Apache-2.0
"""HTTP/2 at the gate's port, decided stream by stream; loaded with the first connection that speaks it."""
