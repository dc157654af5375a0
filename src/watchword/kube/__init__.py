# SPDX-License-Identifier: Apache-2.0
"""One client of the Kubernetes API, for gate, operator and webhook."""
