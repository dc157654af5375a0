# SPDX-License-Identifier: Apache-2.0
"""The versions of the resources, a package each."""
