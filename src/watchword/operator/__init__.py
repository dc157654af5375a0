# SPDX-License-Identifier: Apache-2.0
"""The control plane: resources in, pinned keys, bundles and NetworkPolicies out; one leader at a time.

It may import `kopf` and `kubernetes`; the gate may not import it.
"""
