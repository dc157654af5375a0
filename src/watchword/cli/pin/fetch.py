# SPDX-License-Identifier: Apache-2.0
"""Fetches a cluster's public keys for a person, with the code and the bounds that the operator fetches with.

What comes back decides whom a service believes. So there is no plain HTTP beyond this machine, no redirect to
another host, no answer without an end, and no key that a person was not shown.
"""

import asyncio
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from watchword.cli.failures import UnusableInput, os_reason
from watchword.operator.keys.addresses import ANYWHERE
from watchword.operator.keys.errors import FetchError
from watchword.operator.keys.http import get, tls_context
from watchword.operator.keys.url import parse_target
from watchword.trust.text_encoding import TextEncodingError, as_utf8

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_MAX_BUNDLE_BYTES: Final = 1024 * 1024


def fetch(url: str, ca_bundle: str | None) -> bytes:
    """Get a small document.

    Args:
        url: https, or http on this machine.
        ca_bundle: a PEM file of the certificates to trust; None: the system's.

    Raises:
        UnusableInput: a URL, certificate, answer, size or time that cannot be accepted.
    """
    check_url(url)
    authorities = "" if ca_bundle is None else read_ca_bundle(ca_bundle)
    # A person named the host and sees what comes of it, so their own machine may be asked too.
    try:
        target = parse_target(url, schemes=frozenset({"https", "http"}))
        headers = {"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"}
        answer = asyncio.run(get(target, ca_bundle=authorities, addresses=ANYWHERE, headers=headers))
    except FetchError as failed:
        remedy = f"{failed.remedy[0].upper()}{failed.remedy[1:]}."
        raise UnusableInput(f"{url} cannot be fetched: {failed.detail}.", remedy) from None
    if answer.status != 200:
        raise UnusableInput(
            f"{url} answers with HTTP {answer.status}.",
            "Check the URL. If the cluster does not publish its keys, use --context or --jwks.",
        )
    return answer.body


def read_ca_bundle(ca_bundle: str) -> str:
    """Read the PEM certificates of a file.

    Raises:
        UnusableInput: it cannot be read, is UTF-16, or holds no certificate.
    """
    try:
        with Path(ca_bundle).open("rb") as file:
            text = as_utf8(file.read(_MAX_BUNDLE_BYTES)).decode("ascii", errors="replace")
        tls_context(text or "empty")
    except TextEncodingError as error:
        detail = f"--ca-bundle {ca_bundle} holds no PEM certificates: {error.detail}."
        raise UnusableInput(detail, f"{error.remedy}.") from None
    except OSError as error:
        detail = f"--ca-bundle {ca_bundle} cannot be read: {os_reason(error)}."
        raise UnusableInput(detail, "Make it readable.") from None
    except FetchError:
        raise UnusableInput(
            f"--ca-bundle {ca_bundle} holds no usable certificate.", "Give PEM certificates."
        ) from None
    return text


def check_url(url: str) -> None:
    """Refuse a URL that keys must not come from.

    Raises:
        UnusableInput: not https (http only on this machine), with a user name, a query or a fragment.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UnusableInput(
            f"{url!a} is not a URL.", "Say for example https://oidc.example.com/id/1."
        ) from None
    secure = parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)
    if not host or not secure:
        raise UnusableInput(
            f"{url!a} is not an https URL; keys are fetched over HTTPS only.",
            "Say https://HOST/..., or use --context or --jwks.",
        )
    if parts.username is not None or parts.query or parts.fragment:
        raise UnusableInput(f"The URL of {host} has a user, a query or a fragment.", "Give the plain URL.")
