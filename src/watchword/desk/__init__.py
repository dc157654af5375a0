# SPDX-License-Identifier: Apache-2.0
"""The token desk: an authorization server for workloads. A verified identity in, a narrower token out.

It decides with the bundles that gates use, so a desk token can never do more than its TrustedWorkload allows.
Begin with `exchange.py` (what is decided) and `app.py` (what is answered).
"""
