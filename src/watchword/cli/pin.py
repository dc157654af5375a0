# SPDX-License-Identifier: Apache-2.0
"""`watchword pin`: the ClusterTrustedIssuer of a cluster, with each key's thumbprint beside it for review.

Pinning is a decision that a person makes once, so the keys are written out and named. A key that is not fit
is said and left out.
"""

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click
from cryptography.hazmat.primitives import serialization

from watchword.cli.failures import ANSWER_IS_NO, UnusableInput, os_reason, say, warn
from watchword.cli.options import EXISTING_FILE, option, output_option
from watchword.identity import EncodingProblem, Key, is_service_account_name, load_jwks, parse_json_object
from watchword.identity.jwks import MAX_JWKS_BYTES

_JWKS_PATH: Final = re.compile(r"/(jwks|keys)(\.json)?$|\.json$")
_PUBLIC_MEMBERS: Final = ("kty", "crv", "n", "e", "x", "y")


@click.command("pin", short_help="Print the ClusterTrustedIssuer of a cluster.")
@click.argument("url", required=False)
@option("--context", metavar="NAME", help="Ask the cluster of this kubeconfig context, through kubectl.")
@option("--jwks", type=EXISTING_FILE, metavar="FILE", help="Read the keys from a file (needs --issuer).")
@option("--issuer", metavar="URL", help="The issuer's iss, where the source does not say it.")
@option("--name", metavar="NAME", help="Name of the object.  [default: made from the source]")
@option("--ca-bundle", type=EXISTING_FILE, metavar="FILE", help="PEM certificates to trust for URL.")
@output_option("yaml", "json")
def command(
    *,
    url: str | None,
    context: str | None,
    jwks: str | None,
    issuer: str | None,
    name: str | None,
    ca_bundle: str | None,
    output: str,
) -> None:
    """Print the ClusterTrustedIssuer that pins a cluster's present keys; compare the thumbprints, then apply.

    URL is the issuer's URL (its discovery document is read) or that of a JWKS (needs --issuer).

    \b
    Examples:
      watchword pin https://oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE --name atlas-production
      watchword pin --context atlas-production > issuer.yaml
      watchword pin --jwks keys.json --issuer https://kubernetes.default.svc.cluster.local

    Exit codes: 0 printed; 1 there is no usable key; 2 wrong usage or a source that cannot be read.
    """
    if sum(source is not None for source in (url, context, jwks)) != 1:
        raise click.UsageError("Give exactly one of URL, --context NAME and --jwks FILE.")
    if ca_bundle is not None and url is None:
        raise click.UsageError("--ca-bundle belongs to a URL.")
    if url is not None:
        data, said_issuer, source = _from_url(url, ca_bundle)
    elif context is not None:
        data, said_issuer, source = _from_context(context)
    else:
        data, said_issuer, source = _from_file(str(jwks)), None, Path(str(jwks)).stem
    if said_issuer is not None and issuer is not None and said_issuer != issuer:
        raise UnusableInput(
            f"--issuer {issuer!a} is not what the cluster says, {said_issuer!a}.", "Leave --issuer out."
        )
    issuer = said_issuer or issuer
    if not issuer:
        raise click.UsageError("A JWKS does not say whose it is; give --issuer URL, the iss of the tokens.")
    object_name = _object_name(name, source)
    loaded = load_jwks(data)
    for problem in loaded.problems:
        which = f"key {problem.index}" if problem.index >= 0 else "the set"
        kid = f" (kid {problem.kid!a})" if problem.kid else ""
        warn(f"{which}{kid}: {problem.field}: {problem.detail}. Remedy: {problem.remedy}.")
    if not loaded.keys:
        say("There is no usable key; nothing is printed.")
        raise SystemExit(ANSWER_IS_NO)
    served = parse_json_object(data)["keys"]
    assert isinstance(served, list)  # noqa: S101 - for the type checker: load_jwks read the same bytes
    jwks_by_kid = {each.get("kid"): each for each in served if isinstance(each, dict)}
    pinned = [(key, _written(key, jwks_by_kid[key.kid])) for key in loaded.keys]
    document = _manifest(object_name, issuer, [jwk for _, jwk in pinned])
    if output == "json":
        click.echo(json.dumps(document, indent=2))
    else:
        click.echo(_yaml(object_name, issuer, pinned), nl=False)


def _from_url(url: str, ca_bundle: str | None) -> tuple[bytes, str | None, str]:
    from watchword.cli.pin_fetch import check_url, fetch

    check_url(url)
    parts = urlsplit(url)
    host = parts.hostname or ""
    if _JWKS_PATH.search(parts.path):
        return fetch(url, ca_bundle), None, host
    discovery = _discovery(fetch(url.rstrip("/") + "/.well-known/openid-configuration", ca_bundle))
    # OpenID Connect Discovery 1.0, section 4.3: what is served must be for exactly this URL.
    if discovery["issuer"] != url and host not in ("127.0.0.1", "::1", "localhost"):
        raise UnusableInput(
            f"{url} says that its issuer is {discovery['issuer']!a}.",
            "Give the URL that the tokens' iss has.",
        )
    keys_url = discovery["jwks_uri"]
    if urlsplit(keys_url).netloc != parts.netloc:
        warn(
            f"the keys come from another host, {urlsplit(keys_url).netloc!a}, as the discovery document says."
        )
    return fetch(keys_url, ca_bundle), discovery["issuer"], host


def _from_context(context: str) -> tuple[bytes, str, str]:
    from watchword.cli.kubectl import run_kubectl

    discovery = run_kubectl("get", "--raw=/.well-known/openid-configuration", context=context)
    return (
        run_kubectl("get", "--raw=/openid/v1/jwks", context=context),
        _discovery(discovery)["issuer"],
        context,
    )


def _from_file(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_JWKS_BYTES + 1)
    except OSError as error:
        raise UnusableInput(
            f"--jwks {path} cannot be read: {os_reason(error)}.", "Make it readable."
        ) from None


def _discovery(data: bytes) -> dict[str, str]:
    try:
        document = parse_json_object(data)
    except EncodingProblem:
        document = {}
    found = {name: value for name in ("issuer", "jwks_uri") if isinstance(value := document.get(name), str)}
    if len(found) != 2:
        raise UnusableInput(
            "The discovery document has no issuer and jwks_uri.", "Give the URL of the JWKS, with --issuer."
        )
    return found


def _object_name(name: str | None, source: str) -> str:
    wanted = re.sub(r"[^a-z0-9.-]+", "-", source.lower()).strip("-.") if name is None else name
    if not is_service_account_name(wanted):
        raise click.UsageError(
            f"'{wanted}' cannot be an object's name; say --name, for example atlas-production."
        )
    return wanted


def _written(key: Key, served: dict[str, Any]) -> dict[str, str]:
    """Only what is needed to verify: certificates and vendor members do not belong into a pin."""
    public: dict[str, str] = {name: str(served[name]) for name in _PUBLIC_MEMBERS if name in served}
    return {"kid": key.kid, "alg": key.algorithm, "use": "sig", **public}


def _manifest(name: str, issuer: str, keys: list[dict[str, str]]) -> dict[str, Any]:
    return {
        "apiVersion": "watchword.dev/v1alpha1",
        "kind": "ClusterTrustedIssuer",
        "metadata": {"name": name},
        "spec": {"issuer": issuer, "keys": {"inline": {"keys": keys}}},
    }


def _yaml(name: str, issuer: str, pinned: list[tuple[Key, dict[str, str]]]) -> str:
    # A JSON string is a YAML string: json.dumps quotes whatever an issuer or a kid may hold.
    lines = [
        "apiVersion: watchword.dev/v1alpha1",
        "kind: ClusterTrustedIssuer",
        f"metadata: {{name: {json.dumps(name)}}}",
        "spec:",
        f"  issuer: {json.dumps(issuer)}",
        "  keys:",
        "    inline:",
        "      keys:",
    ]
    for key, jwk in pinned:
        form = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
        digest = hashlib.sha256(key.public_key.public_bytes(*form)).digest()
        kubernetes_kid = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        derived = (
            "kube-apiserver's own"
            if kubernetes_kid == key.kid
            else f"kube-apiserver's would be {kubernetes_kid}"
        )
        lines += [f"      # thumbprint {key.thumbprint} (RFC 7638)", f"      # kid: {derived}"]
        for place, (member, value) in enumerate(jwk.items()):
            lines.append(f"      {'-' if place == 0 else ' '} {member}: {json.dumps(value)}")
    return "\n".join(lines) + "\n"
