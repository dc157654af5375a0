# SPDX-License-Identifier: Apache-2.0
"""`--jwks NAME=FILE`: keys that only a cluster could read, for commands that run offline.

Issuers with `keys.cluster`, `keys.configMap` or `keys.discovery` have no key in the manifests; without this
they could not be compiled, checked or compared anywhere but in the cluster itself. TokenDesks have none there
either: theirs are made by the operator.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import option
from watchword.cli.pin.sources import from_file
from watchword.identity import EncodingError, parse_json_object
from watchword.trust import Resources
from watchword.trust.desk_tokens import DESK_KID_PREFIX
from watchword.trust.desks import DeskKeys, DeskName

_Command = TypeVar("_Command", bound=Callable[..., Any])


def jwks_option(command: _Command) -> _Command:
    """`--jwks NAME=FILE`, as often as wanted."""
    return option(
        "--jwks",
        "jwks_files",
        multiple=True,
        metavar="NAME=FILE",
        help="The keys of the issuer NAME, as a JWKS or PEM file, where the manifests do not hold them; or "
        "those of the TokenDesk NAMESPACE/NAME, as the JWKS that it serves.",
    )(command)


def keys_of(jwks_files: tuple[str, ...]) -> dict[str, bytes]:
    """The JWKS documents by the issuer's name.

    Raises:
        UnusableInput: a file cannot be read.
        click.UsageError: not NAME=FILE, or a name that is given twice.
    """
    found: dict[str, bytes] = {}
    for each in jwks_files:
        name, equals, file = each.partition("=")
        if not (name and equals and file):
            raise click.UsageError(f"--jwks {each!a} is not NAME=FILE; say for example production=jwks.json.")
        if name in found:
            raise click.UsageError(f"--jwks gives the keys of {name} twice.")
        found[name] = from_file(file).data
    return found


def take_desk_keys(
    keys: dict[str, bytes], resources: Resources, also: Iterable[str] = ()
) -> dict[DeskName, DeskKeys]:
    """Take the keys of TokenDesks out of all that were given, and refuse those that no manifest is of.

    What is left belongs to issuers; keys of something that is not there would be passed over.

    Args:
        keys: documents by name.
        resources: what the manifests hold.
        also: names of issuers that the manifests hold in a form that cannot be used.

    Raises:
        UnusableInput: there is no such issuer or desk, or a document is no JWKS of a desk.
    """
    issuers = {each.metadata.name for each in resources.issuers}
    desks = {f"{each.metadata.namespace}/{each.metadata.name}" for each in resources.desks}
    _refuse_unused(keys, {*issuers, *desks, *also})
    found: dict[DeskName, DeskKeys] = {}
    for name in desks & keys.keys():
        namespace, _, desk = name.partition("/")
        found[namespace, desk] = DeskKeys(_desk_keys(name, keys.pop(name)))
    return found


def _desk_keys(name: str, document: bytes) -> tuple[dict[str, Any], ...]:
    try:
        members = parse_json_object(document).get("keys")
    except EncodingError:
        members = None
    listed = members if isinstance(members, list) else []
    kids = [each.get("kid") for each in listed if isinstance(each, dict)]
    if not listed or not all(isinstance(each, str) and each.startswith(DESK_KID_PREFIX) for each in kids):
        raise UnusableInput(
            f"--jwks: {name} is a TokenDesk, and these are not a desk's keys: "
            f"their kids do not begin with {DESK_KID_PREFIX}.",
            "Take them from the desk: curl <its address>/.well-known/jwks.json",
        )
    return tuple(each for each in listed if isinstance(each, dict))


def _refuse_unused(keys: dict[str, bytes], names: set[str]) -> None:
    """Refuse keys for an issuer that the manifests do not have: they would be passed over.

    Raises:
        UnusableInput: there is no such issuer.
    """
    if unknown := sorted(keys.keys() - names):
        kind = "TokenDesk" if "/" in unknown[0] else "issuer"
        raise UnusableInput(
            f"--jwks names the {kind} {unknown[0]!a}, which the manifests do not have.",
            f"Name one of: {', '.join(sorted(names)) or 'none there'}.",
        )
