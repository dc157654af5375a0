# SPDX-License-Identifier: Apache-2.0
"""What every long-running process of Watchword does alike: its log lines and its listening sockets.

Below both gate and operator, which never import each other: written twice, the two would drift apart.
"""
