# SPDX-License-Identifier: Apache-2.0
"""`watchword pin`: an issuer with its keys, from wherever they are."""
