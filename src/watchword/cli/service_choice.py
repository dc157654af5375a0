# SPDX-License-Identifier: Apache-2.0
"""One service out of a folder of manifests, chosen by the user and never by us.

A gate protects exactly one service. Where a folder holds several, taking the first would protect the wrong
one with the right manifests.
"""

from collections.abc import Iterable

from watchword.cli.failures import UnusableInput
from watchword.kube.names import NamespacedName
from watchword.trust import Bundle, Problem


def named(bundle: Bundle) -> NamespacedName:
    """The service that a bundle is for."""
    return NamespacedName(bundle.service.namespace, bundle.service.name)


def choose_service(bundles: Iterable[Bundle], wanted: NamespacedName | None) -> Bundle:
    """The bundle of the wanted service, or the only one there is.

    Raises:
        UnusableInput: no usable service, several without a choice, or none of that name.
    """
    found = {named(bundle): bundle for bundle in bundles}
    listed = ", ".join(str(name) for name in sorted(found))
    if not found:
        raise UnusableInput(
            "The folder holds no usable ProtectedService.", "Add one, or fix the problems named above."
        )
    if wanted is None:
        if len(found) > 1:
            raise UnusableInput(
                f"The folder holds {len(found)} ProtectedServices: {listed}.", "Choose one with --service."
            )
        return next(iter(found.values()))
    if wanted not in found:
        raise UnusableInput(
            f"The folder holds no usable ProtectedService {wanted}.", f"Choose one of: {listed}."
        )
    return found[wanted]


def say_problems(problems: Iterable[Problem]) -> None:
    """Print each problem with its remedy to stderr."""
    from watchword.cli.failures import warn

    for problem in problems:
        warn(str(problem))
