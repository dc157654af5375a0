# SPDX-License-Identifier: Apache-2.0
"""Reference pages made from the code that they describe, so that neither can drift from the other."""
