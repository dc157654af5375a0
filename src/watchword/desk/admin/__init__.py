# SPDX-License-Identifier: Apache-2.0
"""Automation that administers a desk: admin clients, their tokens, and the API that takes no others.

Begin with `standing.py` (who is an admin now) and `app.py` (what is answered). Nothing here makes up an
account or a person for an admin, and no other part of the desk takes an admin's token.
"""
