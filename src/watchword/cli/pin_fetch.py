# SPDX-License-Identifier: Apache-2.0
"""Fetches a cluster's public keys over HTTPS, with bounds on everything.

What comes back decides whom a service believes. So there is no plain HTTP beyond this machine, no redirect to
another host, no answer without an end, and no key that a person was not shown.
"""

import ssl
import time
import urllib.error
import urllib.request
from http.client import HTTPMessage
from typing import IO, Final
from urllib.parse import urlsplit

from watchword.cli.failures import UnusableInput, os_reason
from watchword.identity.jwks import MAX_JWKS_BYTES

STEP_SECONDS: Final = 5.0
DEADLINE_SECONDS: Final = 15.0
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


class _SameHostOnly(urllib.request.HTTPRedirectHandler):
    """Follows redirects on one host; another host is another cluster."""

    def redirect_request(  # noqa: PLR0917 - the base class's signature
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:
        before, after = urlsplit(req.full_url), urlsplit(newurl)
        if (before.scheme, before.netloc) != (after.scheme, after.netloc):
            raise UnusableInput(
                f"{req.full_url} redirects to another host, {after.netloc!a}.",
                "Ask that host directly if you mean it.",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, ca_bundle: str | None) -> bytes:
    """Get a small document.

    Args:
        url: https, or http on this machine.
        ca_bundle: a PEM file of the certificates to trust; None: the system's.

    Raises:
        UnusableInput: a URL, certificate, answer, size or time that cannot be accepted.
    """
    check_url(url)
    try:
        context = ssl.create_default_context(cafile=ca_bundle)
    except (OSError, ssl.SSLError):
        raise UnusableInput(
            f"--ca-bundle {ca_bundle} holds no usable certificate.", "Give PEM certificates."
        ) from None
    opener = urllib.request.build_opener(_SameHostOnly, urllib.request.HTTPSHandler(context=context))
    deadline = time.monotonic() + DEADLINE_SECONDS
    request = urllib.request.Request(url, headers={"Accept": "application/json"})  # noqa: S310 - checked above
    try:
        with opener.open(request, timeout=STEP_SECONDS) as answer:
            data = b""
            # read1 returns what has come, so that a trickle meets the deadline and not only the step's limit.
            while chunk := answer.read1(65536):
                data += chunk
                if len(data) > MAX_JWKS_BYTES:
                    raise UnusableInput(
                        f"{url} answers with more than {MAX_JWKS_BYTES} bytes.",
                        "Check the URL: keys are a few KiB.",
                    )
                if time.monotonic() > deadline:
                    raise TimeoutError
            return data
    except urllib.error.HTTPError as error:
        error.close()
        raise UnusableInput(
            f"{url} answers with HTTP {error.code}.",
            "Check the URL. If the cluster does not publish its keys, use --context or --jwks.",
        ) from None
    except TimeoutError:
        raise UnusableInput(f"{url} gave no answer in time.", "Check that this machine reaches it.") from None
    except urllib.error.URLError as error:
        reason = error.reason
        if isinstance(reason, ssl.SSLCertVerificationError):
            text, remedy = (
                f"its certificate is not trusted ({reason.verify_message})",
                "Give --ca-bundle FILE.",
            )
        else:
            text = os_reason(reason) if isinstance(reason, OSError) else str(reason)
            remedy = "Check the URL and that this machine reaches it."
        raise UnusableInput(f"{url} cannot be fetched: {text}.", remedy) from None
    except (OSError, ValueError) as error:
        raise UnusableInput(
            f"{url} cannot be fetched: {type(error).__name__}.", "Check the URL and that it speaks HTTPS."
        ) from None


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
