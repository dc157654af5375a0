# SPDX-License-Identifier: Apache-2.0
"""`--jwks NAME=FILE`: the keys of issuers that only a cluster could read, for commands that run offline.

Issuers with `keys.cluster`, `keys.configMap` or `keys.discovery` have no key in the manifests; without this
they could not be compiled, checked or compared anywhere but in the cluster itself.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import click

from watchword.cli.failures import UnusableInput
from watchword.cli.options import option
from watchword.cli.pin.sources import from_file

_Command = TypeVar("_Command", bound=Callable[..., Any])


def jwks_option(command: _Command) -> _Command:
    """`--jwks NAME=FILE`, as often as wanted."""
    return option(
        "--jwks",
        "jwks_files",
        multiple=True,
        metavar="NAME=FILE",
        help="The keys of the issuer NAME, as a JWKS or PEM file, where the manifests do not hold them.",
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


def refuse_unused_keys(keys: dict[str, bytes], issuers: set[str]) -> None:
    """Refuse keys for an issuer that the manifests do not have: they would be passed over.

    Raises:
        UnusableInput: there is no such issuer.
    """
    if unknown := sorted(keys.keys() - issuers):
        raise UnusableInput(
            f"--jwks names the issuer {unknown[0]!a}, which the manifests do not have.",
            f"Name one of: {', '.join(sorted(issuers)) or 'none there'}.",
        )
