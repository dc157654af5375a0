# SPDX-License-Identifier: Apache-2.0
"""Why no keys came, as one exception with a remedy, that a condition or a command's last line is made of.

What the other side sent is never in the text, but for the host that it wanted to send us to: who controls
an endpoint must not write into our conditions and logs.
"""


class FetchError(Exception):
    """No keys came, and why.

    Attributes:
        detail: what failed.
        remedy: what would be right.
        is_answer: whether there was an answer, which breaks a rule; else there was none to be had.
        retry_after: seconds that the server asks us to wait (RFC 9110, section 10.2.3), or None.
    """

    def __init__(
        self, detail: str, remedy: str, *, is_answer: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(detail)
        self.detail, self.remedy = detail, remedy
        self.is_answer, self.retry_after = is_answer, retry_after
