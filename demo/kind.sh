#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# A kind cluster with the images of this checkout and the chart in it: `make kind`. Run again, it upgrades what is there.
# IMAGES=FOLDER takes archives that were built before; else they are built (Debian 12, root; see docs/reference/images.md).
set -euo pipefail
cd "$(dirname "$0")/.."

cluster=watchword
for tool in kind kubectl helm; do
  if ! command -v "$tool" > /dev/null; then
    echo "error: $tool is not installed. Remedy: install kind (with a container engine), kubectl and Helm." >&2
    exit 1
  fi
done

images=${IMAGES:-dist/images}
if [ -z "${IMAGES:-}" ]; then
  "${PYTHON:-.venv/bin/python}" -m image gate operator demo --output "$images"
fi

if ! kind get clusters 2> /dev/null | grep --quiet --line-regexp "$cluster"; then
  kind create cluster --config kind-config.yaml
fi
for image in gate operator demo; do
  kind load image-archive --name "$cluster" "$images/watchword-$image.tar"
done

# By its name: whatever context is current, no other cluster is touched.
helm upgrade --install watchword charts/watchword --kube-context "kind-$cluster" \
  --namespace watchword-system --create-namespace --wait --timeout 5m
echo
echo "Remove it again: kind delete cluster --name $cluster"
