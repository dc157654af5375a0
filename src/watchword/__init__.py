# SPDX-License-Identifier: Apache-2.0
"""Workload identity between services on Kubernetes."""

__version__ = "0.1.0"
