# SPDX-License-Identifier: Apache-2.0
"""How an issuer's keys come, wait, are trusted and retire: state machine, form in status, conditions."""
