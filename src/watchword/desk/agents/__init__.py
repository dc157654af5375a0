# SPDX-License-Identifier: Apache-2.0
"""Agents that register themselves: callers that are no pod, such as AI agents that act for people.

On the wire it is `auth.md` 0.7. Nothing of it is served unless the TokenDesk has `spec.agents`.
"""
