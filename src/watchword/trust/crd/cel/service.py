# SPDX-License-Identifier: Apache-2.0
"""Rules on a ProtectedService.

What compares routes with each other is not here: over a thousand of them it is past the API server's budget,
and the operator says it in a condition.
"""

from typing import Final

from watchword.trust.api.v1alpha1.grammar import ANSWERS_OWN, OBJECT_NAME, POINTER
from watchword.trust.crd.cel.issuer import IS_TIME, TIME_REMEDY
from watchword.trust.crd.cel.rule import Rule, is_whole, lacks, named, plain, quoted
from watchword.trust.query_binding import PARAMETER_NAME
from watchword.trust.request_headers import REMOVE_HEADER_REMEDY, pattern_that_never_passes

_PATH_REMEDY: Final = "write a path such as /api/accounts/{account}/usage"
# Whole segments: text without braces, or one capture. A template may end in a slash.
_TEMPLATE: Final = r"(?:/(?:[^/{}]+|\{[a-z][a-z0-9_]{0,31}\}))*(?:/|/\{[a-z][a-z0-9_]{0,31}\.\.\.\})?"
_PLAIN_PATH: Final = r"(?:/[^/{}]+)+"
# What parsers differ on: control characters and parameters, plain or encoded, and encodings that are broken.
_AMBIGUOUS: Final = (
    r"[\\;?#\x00-\x1f\x7f-\x9f]|%(?:[01]|2[35Ff]|3[BbFf]|5[Cc]|7[BbDdFf]|.?$|[^0-9A-Fa-f]|.[^0-9A-Fa-f])"
    r"|/(?:\.|%2[eE]){1,2}(?:/|$)"
)
_TWICE: Final = r"\{account\}.*\{account\}|\{project\}.*\{project\}"
_BOUND_REST: Final = r"\{(?:account|project)\.\.\.\}"

SERVICE_RULES: Final = (
    Rule(
        "ProtectedService",
        "self.metadata.name.size() <= 63",
        "the name has more than 63 characters",
        "use at most 63: it is part of other objects' names and the value of a label",
    ),
    Rule(
        "ServiceSpec.audiences[]",
        is_whole(r"[^\p{C}\p{Z}]+(?: +[^\p{C}\p{Z}]+)*"),
        "white space or control characters",
        "write the audience plainly",
    ),
    Rule(
        "ServiceSpec.audiences[]",
        lacks(r"^(?i:watchword\.dev/)"),
        "such audiences are derived from a service's place, and cannot be declared",
        "remove it: the service's own, in status.audience, is accepted without being declared",
    ),
    Rule(
        "ServiceSpec.selector",
        "self.matchLabels.size() > 0",
        "it selects every pod of the namespace",
        "name the service's own labels",
        ".matchLabels",
    ),
    named(
        "ServiceSpec.serviceAccountName",
        OBJECT_NAME,
        "a ServiceAccount",
        "name one ServiceAccount of the service's namespace",
    ),
    Rule(
        "ServiceSpec",
        "self.port != self.upstreamPort",
        "it is the gate's own port",
        "give the app a port of its own",
        ".upstreamPort",
    ),
    Rule(
        "Route",
        "has(self.scope) != (has(self.public) && self.public)",
        "a route needs a scope, or public: true, and never both",
        "give the route a scope, or public: true alone",
    ),
    Rule(
        "Route",
        "!has(self.public) || !self.public || "
        r"(!has(self.query) && !has(self.purpose) && !self.path.matches(r'^/\{[^/]*\.\.\.\}$'))",
        "a public route is not all paths, has no purpose, and binds nothing from the query",
        "list the public paths, without query and purpose",
    ),
    Rule(
        "Route.query",
        f"self.all(name, {is_whole(PARAMETER_NAME, 'name')})",
        "a parameter's name is not letters, digits, `_` and `-`, beginning with a letter",
        "write the names of query parameters such as tenant_id",
    ),
    Rule(
        "Route",
        "!has(self.query) || (self.query.filter(name, self.query[name].startsWith('account')).size() + "
        "(self.path.contains('{account}') ? 1 : 0) <= 1 && "
        "self.query.filter(name, self.query[name].startsWith('project')).size() + "
        "(self.path.contains('{project}') ? 1 : 0) <= 1)",
        "account or project is bound twice",
        "bind each of account and project once",
        ".query",
    ),
    Rule(
        "Route",
        "!has(self.query) || self.path.contains('{account}') || self.query.exists(name, self.query[name] == "
        "'account') || !(self.path.contains('{project}') || self.query.exists(name, "
        "self.query[name].startsWith('project')))",
        "it binds a project without an account, or with one that may be missing",
        "bind the project's account too",
        ".query",
    ),
    Rule("Route.path", is_whole(_TEMPLATE), "not a path of whole segments", _PATH_REMEDY),
    Rule("Route.path", lacks(_AMBIGUOUS), "two parsers could read the path differently", _PATH_REMEDY),
    Rule("Route.path", lacks(_TWICE), "a capture is named twice", _PATH_REMEDY),
    Rule(
        "Route",
        "!self.path.contains('{project}') || self.path.contains('{account}') || has(self.query)",
        "it binds {project} without {account}",
        "name the project's account too, such as /api/accounts/{account}/projects/{project}",
        ".path",
    ),
    Rule(
        "Route.path",
        lacks(_BOUND_REST),
        "it would take more than one segment for account or project",
        _PATH_REMEDY,
    ),
    plain("Route.path"),
    Rule(
        "Limits",
        "self.burst >= self.requestsPerSecond",
        "it is less than requestsPerSecond",
        "allow at least one second's requests at once",
        ".burst",
    ),
    Rule(
        "ProxyRules.passHeaders[]",
        f"!self.lowerAscii().matches({quoted(pattern_that_never_passes())})",
        "an identity, credential, connection or framing header never passes",
        REMOVE_HEADER_REMEDY,
    ),
    plain("MeterSpec.eventType"),
    Rule(
        "MeterSpec",
        "self.aggregation == 'count' || has(self.value)",
        "this aggregation needs a value",
        "give a JSON pointer into the data, such as /bytes",
        ".value",
    ),
    Rule(
        "MeterSpec",
        "self.aggregation != 'count' || !has(self.value)",
        "count takes no value",
        "leave value out, or use sum",
        ".value",
    ),
    Rule(
        "MeterSpec.value",
        is_whole(POINTER),
        "not a JSON pointer (RFC 6901)",
        "start it with a slash, such as /bytes",
    ),
    plain("MeterSpec.value"),
    Rule(
        "MeterSpec",
        "self.aggregation != 'unique_count' || !has(self.groupBy) || self.groupBy.size() <= 1",
        "unique_count has more than one dimension",
        "give one: distinct values of several cannot be added up",
        ".groupBy",
    ),
    Rule(
        "MeterSpec.unit",
        is_whole(r"[^\p{C}\p{Z}]*(?: +[^\p{C}\p{Z}]+)*"),
        "white space or control characters",
        "use a word, such as bytes",
    ),
    Rule(
        "DimensionSpec.name",
        f"!{is_whole(ANSWERS_OWN)}",
        "answers use this name themselves",
        "choose another name than meter, value and overflow",
    ),
    Rule(
        "DimensionSpec.value",
        is_whole(POINTER),
        "not a JSON pointer (RFC 6901)",
        "start it with a slash, such as /region",
    ),
    plain("DimensionSpec.value"),
    Rule(
        "UsageRules",
        "!has(self.lateDays) || !has(self.eventRetentionDays) || self.lateDays <= self.eventRetentionDays",
        "it is more than eventRetentionDays",
        "replays of older events could not be told; give at most as many days as events are kept",
        ".lateDays",
    ),
    Rule(
        "UsageRules.basePath",
        f"{is_whole(_PLAIN_PATH)} && {lacks(_AMBIGUOUS)}",
        "not a plain path",
        "use a path such as /api/internal",
    ),
    plain("UsageRules.basePath"),
    # How far ahead it is no rule can tell: there is no "now" in them. The operator says it in a condition.
    Rule("ServiceSpec.reportOnlyUntil", IS_TIME, "not a time", TIME_REMEDY),
)
