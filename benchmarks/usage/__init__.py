# SPDX-License-Identifier: Apache-2.0
"""The usage stores next to what their engines do bare, in one run: events in, answers out, and growth.

Machines differ and are shared; ratios taken from one interleaved run hold. See
`python -m benchmarks.usage --help`.
"""
