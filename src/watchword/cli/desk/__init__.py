# SPDX-License-Identifier: Apache-2.0
"""`watchword desk`: the token desk's process, and its store's migrations."""
