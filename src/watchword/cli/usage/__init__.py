# SPDX-License-Identifier: Apache-2.0
"""`watchword usage`: look into a usage store, move it, check it."""
