# SPDX-License-Identifier: Apache-2.0
"""The objects of a desk with two admins: one by its ServiceAccount, and one by a key of its own."""

from __future__ import annotations

from testing.running_desk import Object, admin_object, default_objects
from testing.tokens import Signer

KEY = Signer("nightly")


def objects(*changed: Object) -> list[Object]:
    """A service, a workload, a desk, a resource server, two admins; `changed` replace their equals."""
    made = [
        *default_objects(),
        admin_object(),
        admin_object("nightly", authentication={"jwks": {"keys": [KEY.jwk]}}),
    ]
    names = {(each["kind"], each["metadata"]["name"]) for each in changed}
    return [*(each for each in made if (each["kind"], each["metadata"]["name"]) not in names), *changed]
