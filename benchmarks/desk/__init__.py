# SPDX-License-Identifier: Apache-2.0
"""What the desk costs, as ratios to the bare work, all measured in one run: `python -m benchmarks.desk`."""
