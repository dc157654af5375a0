# SPDX-License-Identifier: Apache-2.0
"""The keys that are held of an issuer, as values, and as they stand in its status.

Status is where the last good keys survive a restart while the issuer is away, so each entry carries its
public JWK, and what is read back is judged like any other key: no thumbprint is believed. An entry that
cannot be read stays, untrusted, because an issuer with a past must never look like a new one, whose first
keys are taken as they come.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Literal

import msgspec

from watchword.identity import Key, load_key, public_jwk
from watchword.trust.api.v1alpha1.rules import parse_time
from watchword.trust.timestamps import rfc3339

KeyState = Literal["Active", "Pending", "Retiring"]
# Active: trusted, and served. Pending: served, not trusted. Retiring: no longer served, trusted for a while.
STATES: Final[tuple[KeyState, ...]] = ("Active", "Pending", "Retiring")
TRUSTED: Final[frozenset[KeyState]] = frozenset({"Active", "Retiring"})
_MILLISECONDS: Final = re.compile(r"(?P<whole>[^.]*)\.(?P<part>[0-9]{3})Z")


class HeldKey(msgspec.Struct, frozen=True, kw_only=True):
    """One key of an issuer, and what is thought of it.

    Attributes:
        kid: the name that a token's header calls it by.
        thumbprint: RFC 7638; the key's identity together with its kid.
        algorithm: the one algorithm that it verifies.
        state: `Active`, `Pending` or `Retiring`.
        since: when it came into this state, in whole unix seconds.
        jwk: its public members; empty for an entry of a status that could not be read.
        held_since: when the issuer was first trusted with it, in unix seconds to the millisecond: of two, the
            earlier one may be earlier by less than a second. None: it never was.
    """

    kid: str
    thumbprint: str
    algorithm: str
    state: KeyState
    since: float
    jwk: dict[str, Any]
    held_since: float | None = None

    @property
    def is_trusted(self) -> bool:
        """Whether tokens may be verified with it."""
        return self.state in TRUSTED and bool(self.jwk)


def held_key(key: Key, state: KeyState, since: float, held_since: float | None = None) -> HeldKey:
    """Hold a key that was loaded; one that is trusted is held since then, unless it was before.

    Args:
        key: the key.
        state: its state.
        since: unix seconds at which it came into this state; a fraction counts for `held_since` alone.
        held_since: when it was first trusted, where that was before.
    """
    return HeldKey(
        kid=key.kid,
        thumbprint=key.thumbprint,
        algorithm=key.algorithm,
        state=state,
        since=float(int(since)),
        jwk=public_jwk(key),
        held_since=exact_time(since) if held_since is None and state in TRUSTED else held_since,
    )


def exact_time(now: float) -> float:
    """Unix seconds as finely as `held_since` has them: to the millisecond."""
    return round(now, 3)


def trusted_jwks(held: Iterable[HeldKey]) -> bytes | None:
    """The JWKS of the keys that are trusted now (Active and Retiring), or None where there are none."""
    keys = [key.jwk for key in held if key.is_trusted]
    return msgspec.json.encode({"keys": keys}) if keys else None


def held_to_status(held: Iterable[HeldKey]) -> list[dict[str, Any]]:
    """`status.keys` of a ClusterTrustedIssuer."""
    return [
        {
            "kid": key.kid,
            "thumbprint": key.thumbprint,
            "algorithm": key.algorithm,
            "state": key.state,
            "since": rfc3339(key.since),
            "jwk": key.jwk,
            **({} if key.held_since is None else {"heldSince": _written_exactly(key.held_since)}),
        }
        for key in held
    ]


def held_from_status(entries: object) -> tuple[HeldKey, ...]:
    """What `held_to_status` wrote. Never raises for bad input.

    Args:
        entries: the value of `status.keys`; absent (None) for an issuer that was never seen.

    Returns:
        One key for each entry. What does not hold together (JWK, kid, thumbprint, algorithm, state and time)
        is Pending without a JWK: never trusted, and gone with the next answer.
    """
    if not isinstance(entries, list):
        return ()
    return tuple(_held(entry if isinstance(entry, Mapping) else {}) for entry in entries)


def _written_exactly(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _time_of(entry: Mapping[str, Any], name: str) -> float | None:
    text = entry.get(name)
    return parse_time(text) if isinstance(text, str) else None


def _exact_time_of(entry: Mapping[str, Any], name: str) -> float | None:
    text = entry.get(name)
    # `TIME` has no fraction: what is left without this one has to be such a time.
    written = _MILLISECONDS.fullmatch(text) if isinstance(text, str) else None
    if written is None:
        return _time_of(entry, name)
    whole = parse_time(written["whole"] + "Z")
    return None if whole is None else exact_time(whole + int(written["part"]) / 1000)


def _held(entry: Mapping[str, Any]) -> HeldKey:
    key = load_key(entry.get("jwk"))
    since, held_since = _time_of(entry, "since"), _exact_time_of(entry, "heldSince")
    state = entry.get("state")
    if isinstance(key, Key) and since is not None and state in STATES:
        # A status of the last release says only since when the key is in its state.
        held = held_key(key, state, since, held_since)
        if all(getattr(held, name) == entry.get(name) for name in ("kid", "thumbprint", "algorithm")):
            return held
    kid, thumbprint = (str(entry.get(name, ""))[:256] for name in ("kid", "thumbprint"))
    return HeldKey(kid=kid, thumbprint=thumbprint, algorithm="", state="Pending", since=0.0, jwk={})
