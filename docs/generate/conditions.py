# SPDX-License-Identifier: Apache-2.0
"""docs/reference/conditions.md: what the operator says of each object, and what to do about it."""

from collections.abc import Iterator

from watchword.trust.conditions import (
    CLIENT,
    DESK,
    ISSUER,
    PROVIDER,
    SERVICE,
    WORKLOAD,
    ConditionType,
    Verdict,
)
from watchword.trust.event_reasons import EventReason

_KINDS = (ISSUER, SERVICE, WORKLOAD, DESK, CLIENT, PROVIDER)
_TYPES = {
    ConditionType.READY: "Whether it works; the others say more.",
    ConditionType.KEYS_FRESH: "Whether the source of the keys could be read last time.",
    ConditionType.ROTATION_SETTLED: "Whether a key waits for approval, or retires.",
    ConditionType.BUNDLE_PUBLISHED: "Whether gates can have what the resources say.",
    ConditionType.POLICY_APPLIED: "What became of the NetworkPolicy.",
    ConditionType.REACHABLE: "Whether the workload's calls can arrive, as far as this cluster shows it.",
    ConditionType.PEERS_NARROW: "Whether only trusted pods can reach the gate, by this object's peers.",
    ConditionType.GATED: "Whether the pods that the service selects run a gate.",
    ConditionType.DESK_ACCEPTED: "Whether gates accept tokens of the desk that the service names.",
    ConditionType.REPORT_ONLY: "Whether gates let pass what they would refuse, as the service asks.",
    ConditionType.AUDIENCES_DISTINCT: "Whether the audiences that the service declares are its own.",
}
_HEAD = """\
# Conditions and Events

Generated from `src/watchword/trust/conditions.py` and `event_reasons.py` (`make generate`). A condition's
message says what is the case for this object and ends with what to do; here is what each reason means in
general. A test brings each of them about on a real API server.

`kubectl get watchword -A` shows `Ready` and its reason, `-o wide` the message, `kubectl describe` all of them
and the Events. To wait for one: `kubectl wait --for=condition=Ready tw/NAME`.
"""


def told_again() -> tuple[Verdict, ...]:
    """Conditions that are told in a Normal Event when an object is well again."""
    return tuple(each for each in Verdict if each.type is ConditionType.READY and each.status == "True")


def page() -> str:
    """The page's text."""
    lines = [_HEAD]
    for kind in _KINDS:
        lines += [f"## {kind}", ""]
        for type_ in ConditionType:
            rows = list(_conditions(kind, type_))
            if rows:
                lines += [f"### {kind} {type_}", "", _TYPES[type_], "", *_TABLE, *rows, ""]
        lines += [f"### Events of a {kind}", "", *_EVENTS, *_events(kind), ""]
    return "\n".join(lines)


_TABLE = ("| reason | status | meaning | what to do |", "|---|---|---|---|")
_EVENTS = ("| reason | type | meaning | what to do |", "|---|---|---|---|")


def _conditions(kind: str, type_: ConditionType) -> Iterator[str]:
    for each in Verdict:
        if kind in each.kinds and each.type is type_:
            yield _row(each.reason, each.status, each.meaning, each.remedy)


def _events(kind: str) -> Iterator[str]:
    for reason in EventReason:
        if reason.kind == kind:
            yield _row(reason.reason, reason.type, reason.meaning, reason.remedy)
    for each in Verdict:
        if kind in each.kinds and each.is_told:
            yield _row(each.reason, "Warning", f"`{each.type}` turned False: see there.", "")
    for each in told_again():
        if kind in each.kinds:
            yield _row(each.reason, "Normal", f"`{each.type}` turned True again.", "")


def _row(reason: str, state: str, meaning: str, remedy: str) -> str:
    return f"| `{reason}` | {state} | {meaning} | {remedy or 'nothing'} |".replace("  ", " ")
