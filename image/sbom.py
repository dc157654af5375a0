# SPDX-License-Identifier: Apache-2.0
"""What is in an image, as CycloneDX: every package of Debian and of Python, with version, licence and purl.

Written from what was really laid down, not from what was asked for: a bill of materials that is made of the
lock file says what one meant to ship.
"""

from __future__ import annotations

import datetime
import re
import uuid
from collections.abc import Sequence
from importlib.metadata import Distribution, distributions
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from image.debian import SUITE, DebianPackage

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_DNS, "watchword.dev")
_LONGEST_LICENCE = 100  # characters; beyond it is the text of a licence and not its name


def bill_of_materials(
    name: str,
    version: str,
    *,
    debian: Sequence[DebianPackage],
    python: Path,
    architecture: str,
    epoch: int,
) -> bytes:
    """CycloneDX 1.6 in JSON for the image `name`: `debian` packages and what the folder `python` holds.

    The same input gives the same bytes: the time is `epoch` (Unix seconds) and the serial number is made of
    the content.
    """
    components = [
        *(_of_debian(package) for package in debian),
        *(_of_python(found) for found in distributions(path=[str(python)])),
    ]
    listed = "\n".join(sorted(str(component.purl) for component in components))
    made_at = datetime.datetime.fromtimestamp(epoch, datetime.UTC)
    image = Component(
        name=f"watchword-{name}",
        version=version,
        type=ComponentType.CONTAINER,
        bom_ref=f"watchword-{name}",
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    bom = Bom(
        components=components,
        serial_number=uuid.uuid5(_NAMESPACE, f"{name} {version} {architecture}\n{listed}"),
        metadata=BomMetaData(timestamp=made_at, component=image),
    )
    bom.register_dependency(image, components)
    return make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=1).encode()


def _of_debian(package: DebianPackage) -> Component:
    purl = PackageURL(
        "deb",
        "debian",
        package.name,
        package.version,
        {"arch": package.architecture, "distro": f"debian-{SUITE}"},
    )
    return Component(
        name=package.name,
        version=package.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)],
    )


def _of_python(found: Distribution) -> Component:
    name = found.metadata["Name"]
    purl = PackageURL("pypi", None, re.sub(r"[-_.]+", "-", name).lower(), found.version)
    licence = _licence_of(found)
    return Component(
        name=name,
        version=found.version,
        type=ComponentType.LIBRARY,
        purl=purl,
        bom_ref=str(purl),
        description=found.metadata.get("Summary"),
        licenses=[LicenseFactory().make_from_string(licence)] if licence else [],
    )


def _licence_of(found: Distribution) -> str | None:
    """The licence as the package names it: an SPDX expression, or what it said before there were any."""
    for field in ("License-Expression", "License"):
        stated = str(found.metadata.get(field) or "").strip()
        if stated and len(stated) <= _LONGEST_LICENCE and "\n" not in stated:
            return stated
    classified = [
        each.rpartition(" :: ")[2]
        for each in found.metadata.get_all("Classifier") or []
        if each.startswith("License :: ")
    ]
    return classified[0] if classified else None
