# SPDX-License-Identifier: Apache-2.0
"""Where an issuer's keys come from: fetched within bounds, rotated as the policy says, kept when it is away.

This file imports nothing: the command line fetches with parts of this package, without the operator extra.
"""
