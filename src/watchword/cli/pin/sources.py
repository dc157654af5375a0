# SPDX-License-Identifier: Apache-2.0
"""Where `watchword pin` reads a cluster's keys: an issuer's URL, a JWKS, the cluster itself, or a file.

Each says whose keys they are only as far as it can know that, and where they could be read again.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from watchword.cli.failures import UnusableInput, os_reason, warn
from watchword.cli.kubectl import run_kubectl
from watchword.cli.pin_pem import is_pem, jwks_of_pem
from watchword.identity import EncodingError, Key, parse_json_object, thumbprint_of
from watchword.identity.jwks import MAX_JWKS_BYTES
from watchword.trust.text_encoding import TextEncodingError, as_utf8

_JWKS_PATH: Final = re.compile(r"/(jwks|keys)(\.json)?$|\.json$")


class Source(msgspec.Struct, frozen=True):
    """Keys as they were read.

    Attributes:
        data: the JWKS.
        issuer: whose they are said to be; None where nothing says it.
        name: what the source is called, for the object's name.
        jwks_url: where they can be read again; None: by discovery from the issuer's URL.
        ca_bundle: PEM certificates to trust for that; empty: the system's.
        is_api_server: whether that is a cluster's own API server, which answers no strangers.
    """

    data: bytes
    issuer: str | None
    name: str
    jwks_url: str | None = None
    ca_bundle: str = ""
    is_api_server: bool = False


def from_url(url: str, ca_bundle: str | None) -> Source:
    """Keys over HTTPS.

    Raises:
        UnusableInput: there are none to be had there.
    """
    from watchword.cli.pin.fetch import check_url, fetch, read_ca_bundle

    check_url(url)
    parts = urlsplit(url)
    host = parts.hostname or ""
    authorities = "" if ca_bundle is None else read_ca_bundle(ca_bundle)
    if _JWKS_PATH.search(parts.path):
        return Source(fetch(url, ca_bundle), None, host, url, authorities)
    document = _discovery(fetch(url.rstrip("/") + "/.well-known/openid-configuration", ca_bundle))
    # OpenID Connect Discovery 1.0, section 4.3: what is served must be for exactly this URL.
    if document["issuer"] != url:
        detail = f"{url} says that its issuer is {document['issuer']!a}"
        if host not in ("127.0.0.1", "::1", "localhost"):
            raise UnusableInput(f"{detail}.", "Give the URL that the tokens' iss has.")
        # A proxy or a port that is forwarded: the keys may be those of the issuer that it names, or not.
        warn(f"{detail}; see that its tokens have this iss before you apply what is printed.")
    keys_url = document["jwks_uri"]
    is_elsewhere = urlsplit(keys_url).netloc != parts.netloc
    if is_elsewhere:
        warn(
            f"the keys come from another host, {urlsplit(keys_url).netloc!a}, as the discovery document says."
        )
    data = fetch(keys_url, ca_bundle)
    return Source(data, document["issuer"], host, keys_url if is_elsewhere else None, authorities)


def from_context(context: str, ca_bundle: str | None) -> Source:
    """The keys of the cluster of a kubeconfig context, through kubectl.

    Raises:
        UnusableInput: kubectl fails.
    """
    from watchword.cli.pin.fetch import read_ca_bundle

    document = _discovery(run_kubectl("get", "--raw=/.well-known/openid-configuration", context=context))
    data = run_kubectl("get", "--raw=/openid/v1/jwks", context=context)
    issuer, keys_url = document["issuer"], document["jwks_uri"]
    if urlsplit(keys_url).netloc == urlsplit(issuer).netloc:
        return Source(data, issuer, context)
    authorities = _root_of_cluster(context) if ca_bundle is None else read_ca_bundle(ca_bundle)
    return Source(data, issuer, context, keys_url, authorities, is_api_server=True)


def from_file(path: str) -> Source:
    """The keys of a file: a JWKS, or public keys in PEM.

    Raises:
        UnusableInput: it cannot be read.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_JWKS_BYTES + 1)
    except OSError as error:
        raise UnusableInput(
            f"--jwks {path} cannot be read: {os_reason(error)}.", "Make it readable."
        ) from None
    try:
        data = as_utf8(data)
    except TextEncodingError as error:
        raise UnusableInput(f"--jwks {path}: {error.detail}.", f"{error.remedy}.") from None
    if is_pem(data):
        data = jwks_of_pem(data, f"--jwks {path}")
    return Source(data, None, Path(path).stem)


def kids_with_a_sign_byte(data: bytes, taken: Iterable[Key]) -> list[str]:
    """The kids of RSA keys that were taken though their modulus starts with a zero byte, as if signed.

    Args:
        data: the JWKS.
        taken: what was loaded of it; nothing is said of keys that were refused.
    """
    known = {(key.kid, key.thumbprint) for key in taken}
    try:
        keys = parse_json_object(data).get("keys")
    except EncodingError:
        return []
    found = []
    for jwk in keys if isinstance(keys, list) else ():
        text = jwk.get("n") if isinstance(jwk, dict) else None
        # Eight zero bits are the first character and a third of the second one.
        has_sign = isinstance(text, str) and text[:1] == "A" and text[1:2] in tuple("ABCDEFGHIJKLMNOP")
        thumbprint = thumbprint_of(jwk) if has_sign else ""
        # One that has a thumbprint has a kid that is a text.
        if thumbprint and (jwk["kid"], thumbprint) in known:
            found.append(jwk["kid"])
    return found


def _root_of_cluster(context: str) -> str:
    """The authority of the cluster's API server, as Kubernetes publishes it in every namespace (KEP-1205)."""
    arguments = ("get", "configmap", "kube-root-ca.crt", "--namespace=kube-system", "--output=json")
    try:
        return str(json.loads(run_kubectl(*arguments, context=context))["data"]["ca.crt"])
    except (UnusableInput, ValueError, KeyError, TypeError):
        return ""


def _discovery(data: bytes) -> dict[str, str]:
    try:
        document = parse_json_object(data)
    except EncodingError:
        document = {}
    found = {name: value for name in ("issuer", "jwks_uri") if isinstance(value := document.get(name), str)}
    if len(found) != 2:
        raise UnusableInput(
            "The discovery document has no issuer and jwks_uri.", "Give the URL of the JWKS, with --issuer."
        )
    return found
