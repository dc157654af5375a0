# SPDX-License-Identifier: Apache-2.0
"""Desk tokens in the system's keyring, as far as there is one.

A keyring that is locked, missing or full costs an exchange more and nothing else; a file in its place would
be a token that lies about. One entry lists the others, since keyrings cannot be searched alike everywhere.
"""

import json
from typing import Any, Final

SERVICE: Final = "watchword"
_LIST: Final = "targets"


class KeyringCache:
    """A `watchword.client.TokenCache` in the system's keyring. Raises what the keyring raises."""

    def __init__(self) -> None:
        """Use the system's keyring.

        Raises:
            ImportError: the package `keyring` is not installed.
        """
        import keyring

        self._keyring: Any = keyring

    def load(self, key: str) -> str | None:
        """The token kept for a target; None: none is."""
        found: str | None = self._keyring.get_password(SERVICE, key)
        return found

    def store(self, key: str, token: str | None) -> None:
        """Keep a token for a target; None: forget it."""
        known = self.targets()
        if token is None:
            if key in known:
                self._keyring.delete_password(SERVICE, key)
                self._note([each for each in known if each != key])
            return
        if key not in known:
            self._note([*known, key])
        self._keyring.set_password(SERVICE, key, token)

    def targets(self) -> list[str]:
        """The keys of all tokens that are kept."""
        try:
            found = json.loads(self._keyring.get_password(SERVICE, _LIST) or "[]")
        except ValueError:
            return []
        return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []

    def _note(self, keys: list[str]) -> None:
        self._keyring.set_password(SERVICE, _LIST, json.dumps(keys))


def keyring_cache() -> KeyringCache | None:
    """The system's keyring; None where there is no way to one."""
    try:
        return KeyringCache()
    except ImportError:
        return None
