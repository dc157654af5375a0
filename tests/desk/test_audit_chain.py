# SPDX-License-Identifier: Apache-2.0
"""A log that was changed anywhere is found out, wherever it was."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchword.desk.audit_chain import AuditEvent, AuditRow, ChainProblem, Head, check_chain, link, parse_head

_events = st.lists(
    st.builds(
        AuditEvent,
        st.sampled_from(["token_issued", "token_revoked"]),
        st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3),
        st.floats(0, 4e9),
    ),
    min_size=1,
    max_size=12,
)


@given(_events, st.integers(0, 5))
def test_a_log_that_was_written_in_pieces_is_whole(events: list[AuditEvent], cut: int) -> None:
    first, head = link(Head(), events[:cut])
    second, head = link(head, events[cut:])
    assert check_chain([*first, *second], head) == head


@given(_events, st.data())
def test_each_change_is_found(events: list[AuditEvent], data: st.DataObject) -> None:
    rows, head = link(Head(), events)
    place = data.draw(st.integers(0, len(rows) - 1))
    row = rows[place]
    kind = data.draw(st.sampled_from(["entry", "hash", "gone", "doubled", "swapped"]))
    changed = list(rows)
    if kind == "entry":
        changed[place] = msgspec.structs.replace(row, entry=row.entry.replace('"event"', '"Event"', 1))
    elif kind == "hash":
        changed[place] = msgspec.structs.replace(row, hash="f" * 64)
    elif kind == "gone":
        del changed[place]
    elif kind == "doubled":
        changed.insert(place, row)
    else:
        changed.reverse()
        if len(changed) == 1:
            return
    assert isinstance(check_chain(changed, head), ChainProblem)


def test_a_log_that_was_made_again_from_the_start_is_found_by_its_noted_head() -> None:
    _, noted = link(
        Head(), [AuditEvent("token_issued", {"n": 1}, 1.0), AuditEvent("token_issued", {"n": 2}, 2.0)]
    )
    forged, head = link(
        Head(), [AuditEvent("token_issued", {"n": 1}, 1.0), AuditEvent("token_revoked", {"n": 2}, 2.0)]
    )

    assert check_chain(forged) == head
    problem = check_chain(forged, noted)
    assert isinstance(problem, ChainProblem)
    assert problem.sequence == 2


def test_a_log_that_was_cut_off_is_found_by_its_noted_head() -> None:
    rows, head = link(Head(), [AuditEvent("x", {}, 1.0), AuditEvent("y", {}, 2.0)])
    problem = check_chain(rows[:1], head)
    assert isinstance(problem, ChainProblem)
    assert "ends at entry 1" in problem.detail


def test_an_entry_that_says_another_number_is_found() -> None:
    rows, _ = link(Head(), [AuditEvent("x", {"sequence": 7}, 1.0)])
    assert check_chain(rows) == Head(1, rows[0].hash)
    from watchword.desk.audit_chain import GENESIS, hash_of

    entry = '{"event":"x","sequence":2,"time":"t"}'
    assert isinstance(check_chain([AuditRow(1, entry, hash_of(GENESIS, entry))]), ChainProblem)


@pytest.mark.parametrize(
    "text", ["", "1", "1:", ":" + "0" * 64, "x:" + "0" * 64, "1:" + "g" * 64, "1:" + "0" * 63]
)
def test_what_is_no_head_is_none(text: str) -> None:
    assert parse_head(text) is None


def test_a_head_is_read_as_it_is_written() -> None:
    head = Head(12, "a" * 64)
    assert parse_head(str(head)) == head
