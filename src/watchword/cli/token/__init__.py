# SPDX-License-Identifier: Apache-2.0
"""`watchword token`: a cluster's token, or a desk's."""
