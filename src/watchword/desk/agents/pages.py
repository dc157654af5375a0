# SPDX-License-Identifier: Apache-2.0
"""The pages that a person sees: a few lines of HTML, one style sheet, no script and nothing from elsewhere.

Every value is escaped where it is put in. The Content-Security-Policy allows the style sheet and the forms,
and has no exception.
"""

from collections.abc import Iterable
from html import escape
from typing import Final

from watchword.desk.agents.records import Attempt, Registration
from watchword.desk.responses import Answer
from watchword.identity import Grant

STYLE_PATH: Final = "/claim/style.css"
HTML: Final = b"text/html; charset=utf-8"
_POLICY: Final = (
    "default-src 'none'; style-src 'self'; form-action 'self'{}; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = (
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
)
STYLE: Final = b"""\
:root { color-scheme: light dark; --line: #8a8f98; --accent: #0b57d0; --on-accent: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --accent: #a8c7fa; --on-accent: #062e6f; } }
* { box-sizing: border-box; }
body { font: 1rem/1.5 system-ui, sans-serif; margin: 0; background: Canvas; color: CanvasText; }
main { max-width: 34rem; margin: 0 auto; padding: 2rem 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; }
dl { border: 1px solid var(--line); border-radius: .5rem; padding: .75rem 1rem; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem; }
form { display: flex; flex-wrap: wrap; gap: .75rem; }
button { font: inherit; padding: .75rem 1.25rem; border-radius: .5rem; border: 2px solid var(--accent);
  background: Canvas; color: CanvasText; cursor: pointer; min-height: 2.75rem; }
button.first { background: var(--accent); color: var(--on-accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 3px; }
output { display: block; font: 700 2.25rem/1.5 ui-monospace, monospace; letter-spacing: .15em; }
"""


def page(title: str, *parts: str, status: int = 200, reason: str = "ok", forms_to: str = "") -> Answer:
    """A page.

    Args:
        title: its heading.
        parts: HTML, each value in it escaped.
        status: the HTTP status.
        reason: for metrics.
        forms_to: an origin besides the desk's own that a form may lead to, such as a provider's.
    """
    body = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="robots" content="noindex">\n<title>{escape(title)}</title>\n'
        f'<link rel="stylesheet" href="{STYLE_PATH}">\n</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n'
        + "\n".join(parts)
        + "\n</main>\n</body>\n</html>\n"
    )
    policy = _POLICY.format(f" {forms_to}" if forms_to else "")
    headers = ((b"content-security-policy", policy.encode()), *_HEADERS)
    return Answer(status, body.encode(), reason, headers=headers, media_type=HTML)


def proof_page(attempt: Attempt, token: str, *, signs_in: bool, forms_to: str = "", by: str = "") -> Answer:
    """What the link of an agent opens: how the person proves who they are.

    Args:
        attempt: what the agent asks for.
        token: of the link.
        signs_in: whether the person signs in; else a mail is sent.
        forms_to: the origin of the sign-in.
        by: what the provider is called that the agent came by; empty: it came by itself.
    """
    who = f"An agent of <strong>{escape(by)}</strong>" if by else "An agent"
    said = (
        f"<p>{who} asks to act for <strong>{escape(masked(attempt.address))}</strong>. "
        "Continue only if you started this yourself.</p>"
    )
    if signs_in:
        return page(
            "An agent asks to act for you",
            said,
            "<p>Your organization has you sign in first. Then you see what the agent may do, and decide.</p>",
            _form("/claim/sign-in", {"attempt": token}, ("first", "", "Sign in")),
            forms_to=forms_to,
        )
    return page(
        "An agent asks to act for you",
        said,
        "<p>A mail goes to that address. Its link shows what the agent may do; you decide there.</p>",
        _form("/claim/mail", {"attempt": token}, ("first", "", "Send me the mail")),
    )


def mailed_page() -> Answer:
    """The same whether a mail was sent or not: who may claim agents is no one else's to know."""
    return page(
        "Look into your mailbox",
        "<p>If the address may let agents act for it, a mail with a link is on its way. "
        "It is good for ten minutes. You can close this page.</p>",
    )


def decision_page(
    secret: str,
    attempt: Attempt,
    registration: Registration,
    since: str,
    grant: Grant,
    *,
    by: str = "",
    before: tuple[str, ...] = (),
) -> Answer:
    """What the agent may do, and the two buttons.

    Args:
        secret: what confirms.
        attempt: whom it asks.
        registration: the agent.
        since: when it registered.
        grant: what it asks for.
        by: as `proof_page` takes it.
        before: the scopes that the person allowed the same client before.
    """
    added = [each for each in grant.scopes if each not in before]
    rows = (
        ("For", attempt.address),
        *([("Agent of", by)] if by else []),
        *([("Client", registration.client)] if registration.client else []),
        ("Agent", registration.id),
        ("Registered", since),
        *([("It may already", ", ".join(before))] if before else []),
        ("It may also" if before else "It may", ", ".join(added) or "nothing"),
        ("In the accounts", ", ".join(grant.accounts) or "none"),
    )
    return page(
        "May this agent act for you?",
        f"<dl>{_rows(rows)}</dl>",
        "<p>Allow it only if you started this yourself, just now. If someone sent you here, refuse.</p>",
        _form(
            "/claim/confirm",
            # Sent back with the answer: no more than was shown here is agreed to.
            {"secret": secret, "scopes": " ".join(grant.scopes)},
            ("first", "allow", "Allow"),
            ("", "refuse", "Refuse"),
        ),
    )


def code_page(code: str) -> Answer:
    """The code, which is shown once."""
    return page(
        "Give this code to your agent",
        f'<output aria-label="Code">{escape(code)}</output>',
        "<p>Type it where you talk to your agent, and nowhere else. No person ever needs it. "
        "It is good for a few minutes, and is shown only now.</p>",
    )


def refused_page() -> Answer:
    """The person refused."""
    return page("The agent may not act for you", "<p>You refused. You can close this page.</p>")


def error_page(status: int, reason: str, summary: str, remedy: str, request_id: str) -> Answer:
    """A refusal as a page."""
    return page(
        "This did not work",
        f"<p>{escape(summary)}</p>",
        f"<p>{escape(remedy)}</p>",
        f"<p>Request {escape(request_id)}</p>",
        status=status,
        reason=reason,
    )


def masked(address: str) -> str:
    """An address for a page that anyone with the link may see."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"


def _form(action: str, hidden: dict[str, str], *buttons: tuple[str, str, str]) -> str:
    fields = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in hidden.items()
    )
    shown = "".join(
        f'<button type="submit"{f" class={chr(34)}{kind}{chr(34)}" if kind else ""}'
        f"{f' name={chr(34)}decision{chr(34)} value={chr(34)}{value}{chr(34)}' if value else ''}>"
        f"{escape(text)}</button>"
        for kind, value, text in buttons
    )
    return f'<form method="post" action="{escape(action)}">{fields}{shown}</form>'


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    return "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in rows)
