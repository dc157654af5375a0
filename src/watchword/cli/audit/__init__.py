# SPDX-License-Identifier: Apache-2.0
"""`watchword audit`: the desk's audit log, shown, exported, verified."""
