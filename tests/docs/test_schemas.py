# SPDX-License-Identifier: Apache-2.0
"""The JSON Schemas for editors: they take what is shipped, and mark what an API server would refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from docs.generate.__main__ import SCHEMAS
from testing.manifests import issuer, service, workload

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "manifests" / "schemas"
SHIPPED = [
    document
    for file in sorted(
        [*ROOT.glob("manifests/quickstart/*.yaml"), *ROOT.glob("manifests/two-clusters/*.yaml")]
    )
    for document in yaml.safe_load_all(file.read_text())
]


def flaws(document: dict[str, Any]) -> list[str]:
    """What is marked, as an editor would: by the one schema for all kinds."""
    loaded = {name: json.loads((FOLDER / name).read_text()) for name in SCHEMAS}
    registry: Registry[Any] = Registry().with_resources(
        [(name, Resource.from_contents(schema)) for name, schema in loaded.items()]
    )
    validator = jsonschema.Draft7Validator(loaded["watchword.json"], registry=registry)
    return [error.message for error in validator.iter_errors(document)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_what_the_types_say_and_itself_valid(name: str) -> None:
    assert (FOLDER / name).read_text() == SCHEMAS[name](), "run `make generate`"
    jsonschema.Draft7Validator.check_schema(json.loads(SCHEMAS[name]()))


@pytest.mark.parametrize("document", SHIPPED, ids=lambda each: each["metadata"]["name"])
def test_what_is_shipped_is_taken(document: dict[str, Any]) -> None:
    assert flaws(document) == []


def test_the_tests_own_objects_are_taken_and_other_kinds_passed_over() -> None:
    for each in (issuer(), service(), workload(), {"apiVersion": "v1", "kind": "Namespace"}):
        assert flaws(each) == []


WRONG = {
    "a field that is unknown": (workload(grant=[]), "'grant' was unexpected"),
    "a field of another type": (service(port="8443"), "'8443' is not of type 'integer'"),
    "a value out of its bounds": (service(port=0), "0 is less than the minimum of 1"),
    "a word that is none": (service(token={"binding": "Node"}), "'Node' is not one of ['Any', 'Pod']"),
    "an old version": (
        workload() | {"apiVersion": "watchword.dev/v1"},
        "'watchword.dev/v1alpha1' was expected",
    ),
    "no namespace": (workload() | {"metadata": {"name": "a"}}, "'namespace' is a required property"),
}


@pytest.mark.parametrize(("document", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_marked(document: dict[str, Any], said: str) -> None:
    assert [each for each in flaws(document) if said in each], flaws(document)
