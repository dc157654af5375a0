# SPDX-License-Identifier: Apache-2.0
"""What a request's Host, or `:authority`, may be: a name or an address, and a port.

Apps and frameworks put a URL together of it and take that apart again. A slash, a question mark or a number
sign in it is a second path to them, past the one that was decided on (CVE-2026-48710).
"""

import re
from typing import Final

# RFC 3986, section 3.2, without what no host on the wire has: user information, escapes, other delimiters.
AUTHORITY: Final = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")
