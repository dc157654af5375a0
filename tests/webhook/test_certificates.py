# SPDX-License-Identifier: Apache-2.0
"""The webhook's own certificate: who it is for, when it must go, and that its key never shows."""

from __future__ import annotations

import math
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from prometheus_client import CollectorRegistry

from watchword.process.certificate_metrics import certificate_gauges
from watchword.process.tls import validity_of
from watchword.webhook.certificates import LIFETIME, RENEW_BEFORE, Pair, flaw_of, make_pair, still_trusted

NOW = datetime(2026, 11, 25, tzinfo=UTC)
NAMES = ("watchword-webhook.watchword-system.svc", "localhost")
PAIR = make_pair(NAMES, NOW)


def test_a_fresh_pair_is_fit_and_loads_for_a_server_and_its_client(tmp_path: Path) -> None:
    assert flaw_of(PAIR, NAMES, NOW) is None
    (tmp_path / "crt").write_bytes(PAIR.certificate)
    (tmp_path / "key").write_bytes(PAIR.key)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tmp_path / "crt", tmp_path / "key")
    client = ssl.create_default_context(cadata=PAIR.certificate.decode())
    assert len(client.get_ca_certs()) == 1


@pytest.mark.parametrize(
    ("age", "flaw"),
    [
        (timedelta(0), None),
        (LIFETIME - RENEW_BEFORE - timedelta(seconds=1), None),
        (LIFETIME - RENEW_BEFORE, "it is near its end"),
        (LIFETIME + timedelta(days=1), "it is near its end"),
        (-timedelta(hours=1), None),
        (-timedelta(hours=2), "it is of the future"),
    ],
)
def test_a_pair_is_renewed_in_the_last_third_of_its_life(age: timedelta, flaw: str | None) -> None:
    assert flaw_of(PAIR, NAMES, NOW + age) == flaw


@pytest.mark.parametrize(
    ("pair", "names"),
    [
        (Pair(b"", b""), NAMES),
        (Pair(PAIR.certificate, b"no key"), NAMES),
        (Pair(PAIR.certificate, make_pair(NAMES, NOW).key), NAMES),
        (PAIR, ("other.svc",)),
        (PAIR, (*NAMES, "more.svc")),
    ],
)
def test_a_pair_that_does_not_fit_is_made_anew(pair: Pair, names: tuple[str, ...]) -> None:
    assert flaw_of(pair, names, NOW) is not None


def test_metrics_say_from_when_until_when_a_certificate_is_valid() -> None:
    registry = CollectorRegistry()
    served = [None, validity_of(PAIR.certificate)]
    certificate_gauges(registry, "w", "server's", lambda: served[0])

    def sample(name: str) -> float:
        found = registry.get_sample_value(f"w_certificate_{name}_timestamp_seconds")
        assert found is not None
        return found

    assert math.isnan(sample("expires"))
    served.pop(0)
    assert sample("expires") == (NOW + LIFETIME).timestamp()
    assert sample("begins") < NOW.timestamp()


def test_a_chain_is_as_good_as_what_ends_first_in_it() -> None:
    older = make_pair(NAMES, NOW - timedelta(days=30)).certificate
    found = validity_of(PAIR.certificate + older)
    assert found is not None
    assert found[1] == (NOW - timedelta(days=30) + LIFETIME).timestamp()
    assert validity_of(b"no PEM") is None


def test_the_one_before_stays_trusted_until_it_is_past() -> None:
    older = make_pair(NAMES, NOW - LIFETIME + timedelta(days=1)).certificate
    assert still_trusted(PAIR.certificate + older, NOW) == [PAIR.certificate, older]
    assert still_trusted(PAIR.certificate + older, NOW + timedelta(days=2)) == [PAIR.certificate]
    assert still_trusted(b"nonsense", NOW) == []


def test_the_key_shows_in_no_repr() -> None:
    assert "PRIVATE" not in repr(PAIR) + str(PAIR) + f"{[PAIR]}"


def test_no_certificate_but_itself_can_be_signed_in_its_name() -> None:
    certificate = x509.load_pem_x509_certificate(PAIR.certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert constraints.path_length == 0
