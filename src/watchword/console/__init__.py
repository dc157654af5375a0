# SPDX-License-Identifier: Apache-2.0
"""The console: pages on this machine that say who may call what, with the reader's own rights.

It changes nothing. For each change it shows the exact command that makes it. What it shows is read by a
source (a cluster through kubectl, or a folder of manifests), and no page ever holds a Kubernetes credential.
"""
