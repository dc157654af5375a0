# SPDX-License-Identifier: Apache-2.0
"""Whether a server could read a request's body as a form, whose fields frameworks mix with the query.

What is read as a form differs by server and is not only what says so: Rack and Python's `cgi` take a POST
without a type for one, Rack and `cgi` any `multipart/*`, Werkzeug `application/x-url-encoded`, Tcl's `ncgi`
`text/xml`, Perl's `HTTP::Body` whatever holds a form's type anywhere in the value. So the types that no known
server takes for a form are listed here, and every other one may be a form.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

# Media types by the reason for which they pass. Not here, and so refused:
# - `text/plain` is what an HTML form with `enctype=text/plain` sends (`name=value` lines);
# - `application/xml`, `text/xml` and `+xml` are read as parameters by ncgi, Rails 3, CGI.pm (XForms);
# - `text/html`, `message/*` and unknown types: no API needs them, and no one knows who reads them.
PLAIN_TYPES: Final = (
    # Documents of an API. Rails and Laravel mix their members with the query; nothing that a gate can see of
    # a head tells these from others, and a POST without them is no API: the page on routes says what to do.
    "application/json",
    "application/ndjson",
    "application/x-ndjson",
    "application/jsonl",
    "application/json-seq",
    # Binary encodings of the same: no server turns them into parameters.
    "application/cbor",
    "application/msgpack",
    "application/x-msgpack",
    "application/vnd.msgpack",
    "application/protobuf",
    "application/x-protobuf",
    "application/vnd.google.protobuf",
    "application/proto",
    "application/grpc",
    # Bytes and archives, as caches and stores take them.
    "application/octet-stream",
    "application/gzip",
    "application/x-gzip",
    "application/zip",
    "application/zstd",
    "application/x-tar",
)
# A suffix says how the rest is encoded (RFC 6839), with the same reasons.
PLAIN_SUFFIXES: Final = ("+json", "+cbor", "+proto")
# Whole trees of media that are no text.
PLAIN_TREES: Final = ("image/", "audio/", "video/")
# `image/svg+xml` and its like are XML all the same.
_XML: Final = "xml"
# Anywhere in the value, parameters included: some servers search it (Perl's HTTP::Body).
_FORMS: Final = ("form-data", "www-form", "urlencoded", "url-encoded", "multipart", "/xml")
# ASP.NET decodes the query by this charset as well; in another one (ibm037) its bytes are other letters.
_CHARSET: Final = re.compile(r"""charset[ \t]*=[ \t"']*([^"'; \t]*)""")
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "iso-8859-1"})
_NAME: Final = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_MEDIA_TYPE: Final = re.compile(
    rf'({_NAME}/{_NAME})(?:[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|"[ !#-\[\]-~]*"))*[ \t]*;?'
)
# Those that have no body as a rule, so that nothing follows from a type that is not there.
_WITHOUT_BODY: Final = frozenset({"GET", "HEAD", "OPTIONS"})

# Longer ones are no type that is listed. In bytes.
_MAX_TYPE_BYTES: Final = 256


class FormFlaw(msgspec.Struct, frozen=True):
    """Why a body could be read as a form.

    Attributes:
        detail: what it is, as a sentence.
        hint: what to do.
    """

    detail: str
    hint: str


_SEND: Final = (
    "Send the body with one Content-Type that no server reads as a form, such as application/json or "
    "application/octet-stream"
)
_NO_TYPE: Final = FormFlaw(
    "The request has a body and no Content-Type, and some servers read that as a form.", f"{_SEND}."
)
_TWICE: Final = FormFlaw(
    "The request has more than one Content-Type, and servers differ on which one holds.", f"{_SEND}."
)
_FORM: Final = FormFlaw(
    "The body is of a Content-Type that some servers read as a form, whose fields they mix with the query.",
    f"{_SEND}.",
)
_CHARSET_FLAW: Final = FormFlaw(
    "The Content-Type names a charset by which some servers would read the query as well.",
    f"{_SEND}, without a charset or with utf-8.",
)
_NOT_SAID: Final = FormFlaw(
    "No Content-Type came through the proxy with this method, so that the body may be a form.",
    f"{_SEND}, with this method even without a body; and have the proxy hand Content-Type to the gate.",
)


def form_flaw(headers: Iterable[tuple[bytes, bytes]], *, has_body: bool) -> FormFlaw | None:
    """Why the body of a request could be read as a form; None: it has none, or one that is not.

    Args:
        headers: the request's, names in lower case.
        has_body: whether its head announces a body.
    """
    if not has_body:
        return None
    types = _content_types(headers)
    return _flaw_of_types(types) if types else _NO_TYPE


def form_flaw_behind_proxy(method: str, headers: Iterable[tuple[bytes, bytes]]) -> FormFlaw | None:
    """The same for an original request that a proxy asks about, which does not say whether it has a body.

    Args:
        method: the original request's.
        headers: those that the proxy handed over, names in lower case.
    """
    types = _content_types(headers)
    if types:
        return _flaw_of_types(types)
    return None if method in _WITHOUT_BODY else _NOT_SAID


def _content_types(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    return [value for name, value in headers if name == b"content-type"]


def _flaw_of_types(types: list[bytes]) -> FormFlaw | None:
    if len(types) > 1:
        return _TWICE
    value = types[0].decode("latin-1").strip(" \t")
    if not value:
        return _NO_TYPE
    if len(value) > _MAX_TYPE_BYTES:
        return _FORM
    found = _MEDIA_TYPE.fullmatch(value)
    if found is None or any(each in value.lower() for each in _FORMS):
        return _FORM
    if not _CHARSETS.issuperset(_CHARSET.findall(value.lower())):
        return _CHARSET_FLAW
    name = found[1].lower()
    if name in PLAIN_TYPES or (name.startswith("application/") and name.endswith(PLAIN_SUFFIXES)):
        return None
    return None if name.startswith(PLAIN_TREES) and _XML not in name else _FORM
