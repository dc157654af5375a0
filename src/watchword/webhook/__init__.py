# SPDX-License-Identifier: Apache-2.0
"""The admission webhook: pods that ask are given their gate or their token as they are created.

It runs in every replica, with caches of its own and no say in anything but the answer: a client that can
reach it learns what a pod with these labels would become, and changes nothing (CVE-2025-1974 is what more
leads to).
"""
