# SPDX-License-Identifier: Apache-2.0
"""Speed, as ratios between things measured in one run. Programs, not tests: nothing here can fail a build."""
