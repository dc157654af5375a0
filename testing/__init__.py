# SPDX-License-Identifier: Apache-2.0
"""What tests, benchmarks and make share: real parts of a cluster, builders of tokens and manifests."""
