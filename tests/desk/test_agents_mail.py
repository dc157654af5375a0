# SPDX-License-Identifier: Apache-2.0
"""Mails to people: plain text, one link, and never over a connection that is not what was asked for."""

from __future__ import annotations

import smtplib

import pytest

from testing.agents import ALICE, agent_desk, mailbox
from watchword.desk.agents.mail import deliver
from watchword.desk.agents.policy import AgentPolicy
from watchword.trust.api.v1alpha1 import AgentMail


@pytest.mark.parametrize("security", ["StartTLS", "TLS"])
def test_a_server_without_tls_gets_no_mail_and_no_password(security: str) -> None:
    with mailbox() as box:
        mail = AgentMail(host="127.0.0.1", port=box.port, security=security, from_="desk@example.com")  # type: ignore[arg-type]
        policy = AgentPolicy(mail=mail, mail_login=("desk", "s3cret"))
        assert "s3cret" not in repr(policy)
        with pytest.raises((OSError, smtplib.SMTPException)):
            deliver(policy, ALICE, "https://desk.example.com/claim?secret=x")
        assert box.mails == []


def test_a_mail_is_plain_text_with_one_link_and_says_what_it_is() -> None:
    with agent_desk() as desk:
        made = desk.service_auth(ALICE)
        desk.ask_for_mail(made["claim"]["attempt"]["verification_uri"])
        found = desk.mails.wait_for(1)
        assert found.get_content_type() == "text/plain"
        assert (found["To"], found["From"]) == (ALICE, "desk@example.com")
        assert found["Auto-Submitted"] == "auto-generated"
        assert found.get_content().count("https://") == 1
        assert made["id"] not in found.get_content()


def test_a_server_that_is_away_is_counted_and_no_answer_waits_for_it() -> None:
    with agent_desk() as desk:
        desk.change(mail={"host": "127.0.0.1", "port": 1, "security": "None", "from": "desk@example.com"})
        made = desk.service_auth(ALICE)
        assert desk.ask_for_mail(made["claim"]["attempt"]["verification_uri"]).status_code == 200
        mails = desk.running.desk.metrics.agent_mails
        for _ in range(3000):
            if mails.labels("failed")._value.get() == 1:
                break
            desk.http.get("/claim/style.css")
        assert mails.labels("failed")._value.get() == 1
        assert mails.labels("sent")._value.get() == 0
