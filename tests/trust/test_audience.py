# SPDX-License-Identifier: Apache-2.0
"""Which audiences a service accepts: its own by where it is, declared ones unless they are others'."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testing.manifests import URL, issuer, parsed, service, workload
from watchword.trust import Compilation, ProblemReason, compile_resources
from watchword.trust.audience import (
    DEFAULT_RESERVED,
    AudienceRules,
    flaw_of_reserved,
)
from watchword.trust.derived_audience import derived_audience, is_cluster_id, is_derived

HERE, BEFORE = "0d2f7a4e-1c1b-4f0e-9a55-5a1d3a7f9b10", "3c6f1f0e-52f3-4a55-8a5b-6f3cf0b3a001"
OWN = f"watchword.dev/services/{HERE}/tuist/tuist-server"
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
dotted = st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True)


def compiled(*objects: dict[str, object], rules: AudienceRules = AudienceRules(HERE)) -> Compilation:  # noqa: B008
    found = parsed(*objects)
    assert not found.problems, found.problems
    return compile_resources(found.resources, audiences=rules)


def audiences(*objects: dict[str, object], rules: AudienceRules = AudienceRules(HERE)) -> tuple[str, ...]:  # noqa: B008
    [bundle] = compiled(*objects, rules=rules).bundles
    return bundle.audiences


def without_audiences() -> dict[str, object]:
    made = service()
    del made["spec"]["audiences"]
    return made


def test_a_service_accepts_its_own_audience_without_declaring_any() -> None:
    assert audiences(without_audiences()) == (OWN,)


def test_what_it_declares_is_accepted_besides() -> None:
    assert audiences(service(audiences=["b", "a"])) == ("a", "b", OWN)


def test_former_clusters_are_accepted_beside_the_present_one() -> None:
    rules = AudienceRules(HERE, (BEFORE,))
    found = audiences(without_audiences(), rules=rules)
    assert set(found) == {OWN, OWN.replace(HERE, BEFORE)}
    [object_] = parsed(service()).resources.services
    assert rules.audience_of(object_) == OWN


def test_without_a_cluster_and_without_a_declared_one_there_is_a_problem_and_no_bundle() -> None:
    found = compiled(without_audiences(), rules=AudienceRules())
    assert found.bundles == ()
    [problem] = found.problems
    assert problem.reason is ProblemReason.NO_AUDIENCE
    assert "--cluster-id" in problem.remedy


def test_reserved_audiences_are_left_out_and_the_service_stands() -> None:
    rules = AudienceRules(HERE, reserved=DEFAULT_RESERVED)
    found = compiled(service(audiences=["vault", "mine"]), rules=rules)
    assert found.bundles[0].audiences == ("mine", OWN)
    [problem] = found.problems
    assert (problem.reason, problem.field) == (ProblemReason.AUDIENCE_RESERVED, "spec.audiences[0]")


def test_every_url_of_an_issuer_is_reserved_and_no_other_objects_word_is() -> None:
    other = "https://more.example"
    made = issuer(additionalIssuers=[other])
    found = audiences(made, workload(), service(audiences=[URL, f"{other}/", "https://third.example"]))
    assert found == ("https://third.example", OWN)
    # A service cannot reserve what another one declares.
    twin = service("twin", audiences=["https://third.example"])
    assert all(
        "https://third.example" in each.audiences
        for each in compiled(service(audiences=["https://third.example"]), twin).bundles
    )


@pytest.mark.parametrize("written", ["shared", "Shared", "shared/"])
def test_an_audience_of_two_namespaces_is_a_problem_of_both_without_the_others_name(written: str) -> None:
    foreign = service("elsewhere-server", audiences=[written])
    foreign["metadata"]["namespace"] = "elsewhere"
    found = compiled(service(audiences=["shared"]), foreign)
    assert [each.reason for each in found.problems] == [ProblemReason.AUDIENCE_SHARED] * 2
    for problem, stranger in zip(found.problems, ("tuist", "elsewhere"), strict=True):
        assert stranger not in problem.detail.split()
    same = compiled(service(audiences=["shared"]), service("twin", audiences=["shared"]))
    assert same.problems == ()


@given(st.tuples(names, names, dotted), st.tuples(names, names, dotted))
def test_two_places_never_have_one_audience(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    assert (derived_audience(*one) == derived_audience(*other)) == (one == other)
    assert is_derived(derived_audience(*one))


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=40))
def test_parts_that_could_be_read_as_two_make_no_audience(cluster: str, namespace: str, name: str) -> None:
    fits = is_cluster_id(cluster) and all(part and "/" not in part for part in (namespace, name))
    if fits:
        assert derived_audience(cluster, namespace, name).split("/")[2:] == [cluster, namespace, name]
    else:
        with pytest.raises(ValueError, match="one segment"):
            derived_audience(cluster, namespace, name)


@given(st.lists(st.text(min_size=1, max_size=30), max_size=8), st.sampled_from([*DEFAULT_RESERVED, URL]))
def test_nothing_reserved_is_ever_accepted_however_it_is_written(others: list[str], entry: str) -> None:
    rules = AudienceRules(HERE, reserved=DEFAULT_RESERVED, urls=frozenset({URL}))
    [object_] = parsed(service()).resources.services
    plain = entry.strip("*") if not entry.startswith("*") else "x" + entry[1:]
    for written in (plain, plain.upper(), plain + "/", plain + "//", *others):
        declaring = msgspec.structs.replace(
            object_, spec=msgspec.structs.replace(object_.spec, audiences=(written,))
        )
        accepted = rules.accepted(declaring)
        assert (written in accepted) == (not rules.is_reserved(written))
        if written not in others:
            assert accepted == (OWN,)


@pytest.mark.parametrize(
    ("entry", "is_good"),
    [("vault", True), ("a*", True), ("*a", True), ("*", False), ("a*b", False), ("*a*", False), ("", False)],
)
def test_an_entry_that_reserves_everything_is_refused(entry: str, is_good: bool) -> None:
    assert (flaw_of_reserved(entry) is None) == is_good


def test_an_empty_entry_reserves_nothing() -> None:
    rules = AudienceRules(HERE, reserved=("", "*"), urls=frozenset({""}))
    assert not rules.is_reserved("mine")
