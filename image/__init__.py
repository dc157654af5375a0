# SPDX-License-Identifier: Apache-2.0
"""The container images, built without a container engine: `make image`.

Read `build.py` first. The `Containerfile` runs the very same steps where there is an engine.
"""
