# SPDX-License-Identifier: Apache-2.0
"""`watchword dev`: a gate and an issuer on this machine, from a folder of manifests."""
