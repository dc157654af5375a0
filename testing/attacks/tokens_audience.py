# SPDX-License-Identifier: Apache-2.0
"""T5: well-signed tokens for audiences that look like the service's own, which is derived from its place."""

from functools import partial

from testing.attacks.case import Case, cases
from testing.attacks.world import CLUSTER_ID, FORMER_ID, OWN_AUDIENCE, token

NAMESPACE, NAME = "tuist", "tuist-server"
_ROOT = f"watchword.dev/services/{CLUSTER_ID}"

TOKENS: list[Case[bytes]] = cases(
    "T5",
    "wrong_audience",
    [
        (f"derived aud {name}", partial(token, aud=value))
        for name, value in {
            "a prefix": OWN_AUDIENCE[:-1],
            "a longer name": OWN_AUDIENCE + "s",
            "of the namespace": f"{_ROOT}/{NAMESPACE}",
            "of the cluster": _ROOT,
            "of all services": "watchword.dev/services",
            "with a slash behind": OWN_AUDIENCE + "/",
            "with a slash before": "/" + OWN_AUDIENCE,
            "with a doubled slash": f"{_ROOT}//{NAMESPACE}/{NAME}",
            "with a segment more": f"{OWN_AUDIENCE}/admin",
            "with a segment in between": f"{_ROOT}/{NAMESPACE}/x/{NAME}",
            "with a dot segment": f"{_ROOT}/{NAMESPACE}/./{NAME}",
            "with a way up": f"{_ROOT}/mallory/../{NAMESPACE}/{NAME}",
            "with an encoded slash": f"{_ROOT}/{NAMESPACE}%2F{NAME}",
            "with another slash": f"{_ROOT}/{NAMESPACE}\u2215{NAME}",
            "in upper case": OWN_AUDIENCE.upper(),
            "with one capital": OWN_AUDIENCE.replace("watchword", "Watchword"),
            "with the cluster in capitals": OWN_AUDIENCE.replace(CLUSTER_ID, CLUSTER_ID.upper()),
            "of another cluster": OWN_AUDIENCE.replace(CLUSTER_ID, "00000000-0000-0000-0000-000000000000"),
            "of no cluster": OWN_AUDIENCE.replace(f"{CLUSTER_ID}/", ""),
            "of an empty cluster": OWN_AUDIENCE.replace(CLUSTER_ID, ""),
            "of the cluster dev": OWN_AUDIENCE.replace(CLUSTER_ID, "dev"),
            "of a former cluster for another service": f"watchword.dev/services/{FORMER_ID}/{NAMESPACE}/x",
            "of another namespace": f"{_ROOT}/mallory/{NAME}",
            "of another service": f"{_ROOT}/{NAMESPACE}/mallory",
            "with both swapped": f"{_ROOT}/{NAME}/{NAMESPACE}",
            "with both in one": f"{_ROOT}/{NAMESPACE}.{NAME}",
            "of a desk": OWN_AUDIENCE.replace("/services/", "/desks/"),
            "as a URL": f"https://{OWN_AUDIENCE}",
            "with a query": f"{OWN_AUDIENCE}?x",
            "with a space": f"{OWN_AUDIENCE} ",
            "with a NUL": f"{OWN_AUDIENCE}\0",
            "a wildcard": f"{_ROOT}/{NAMESPACE}/*",
            "two look-alikes": [f"{OWN_AUDIENCE}/", OWN_AUDIENCE.upper()],
        }.items()
    ],
)
