# SPDX-License-Identifier: Apache-2.0
"""Every condition that the operator can state of an object, with what it means and what to do about it.

The same table makes the conditions, the ends of their messages and the reference page: a reason that is not
in it cannot be written, so who reads a condition always finds it in the docs.
"""

from enum import Enum, StrEnum, unique
from typing import NamedTuple

import msgspec

from watchword.trust.api.v1alpha1.status import ConditionStatus
from watchword.trust.problems import ProblemReason

ISSUER, SERVICE, WORKLOAD = "ClusterTrustedIssuer", "ProtectedService", "TrustedWorkload"
DESK, CLIENT, PROVIDER = "TokenDesk", "DeskClient", "AgentProvider"
_ALL = (ISSUER, SERVICE, WORKLOAD)


class ConditionType(StrEnum):
    """What a condition speaks of."""

    READY = "Ready"
    KEYS_FRESH = "KeysFresh"
    ROTATION_SETTLED = "RotationSettled"
    BUNDLE_PUBLISHED = "BundlePublished"
    POLICY_APPLIED = "PolicyApplied"
    REACHABLE = "Reachable"
    PEERS_NARROW = "PeersNarrow"
    AUDIENCES_DISTINCT = "AudiencesDistinct"
    DESK_ACCEPTED = "DeskAccepted"
    REPORT_ONLY = "ReportOnly"
    GATED = "Gated"


class _Facts(NamedTuple):
    kinds: tuple[str, ...]
    type: ConditionType
    status: ConditionStatus
    reason: str
    meaning: str
    remedy: str


_READY, _FRESH, _SETTLED = ConditionType.READY, ConditionType.KEYS_FRESH, ConditionType.ROTATION_SETTLED
_PUBLISHED, _POLICY = ConditionType.BUNDLE_PUBLISHED, ConditionType.POLICY_APPLIED
_REACHABLE, _NARROW = ConditionType.REACHABLE, ConditionType.PEERS_NARROW
_DISTINCT, _DESK_ACCEPTED = ConditionType.AUDIENCES_DISTINCT, ConditionType.DESK_ACCEPTED
_REPORT_ONLY = ConditionType.REPORT_ONLY
_GATED = ConditionType.GATED


def _problem(kinds: tuple[str, ...], reason: ProblemReason, meaning: str, remedy: str) -> _Facts:
    return _Facts(kinds, _READY, "False", reason.value, meaning, remedy)


@unique
class Verdict(Enum):
    """Type, status and reason of a condition, its meaning and its remedy; an empty remedy: none needed."""

    # Ready, of an issuer.
    KEYS_TRUSTED = _Facts(
        (ISSUER,), _READY, "True", "KeysTrusted", "At least one key is trusted; services rely on it.", ""
    )
    AWAITING_APPROVAL = _Facts(
        (ISSUER,),
        _READY,
        "False",
        "AwaitingApproval",
        "Keys are served, and none of them is trusted: the policy waits for a person.",
        "Compare the thumbprints with the cluster, then run `watchword approve`.",
    )
    KEYS_UNAVAILABLE = _problem(
        (ISSUER,),
        ProblemReason.KEYS_UNAVAILABLE,
        "No keys could be read yet, and none were trusted before.",
        "See KeysFresh: it says what prevents it.",
    )
    NO_USABLE_KEY = _problem(
        (ISSUER,),
        ProblemReason.NO_USABLE_KEY,
        "The set holds no key that may be used.",
        "Give at least one good public key of an allowed algorithm; `watchword pin` prints them.",
    )
    KEY_CONFLICT = _problem(
        (ISSUER,),
        ProblemReason.KEY_CONFLICT,
        "Every key of it is held by another issuer with the same `iss` too, and is left out here.",
        "Remove the keys from the issuer whose cluster does not sign with them, or approve them on the "
        "other one.",
    )
    # Ready, of any kind.
    INVALID_FIELD = _problem(
        _ALL,
        ProblemReason.INVALID_FIELD,
        "A field has a value that the API server should have refused; the CRDs are older than the operator.",
        "Fix the field that the message names, and install the CRDs of the operator's release.",
    )
    NEWER_THAN_OPERATOR = _Facts(
        _ALL,
        _READY,
        "False",
        "NewerThanOperator",
        "The object has a field that this operator does not know: its CRD is newer. What the operator "
        "understood last stays in use; nothing new is trusted, and suspending, revoking and deleting still "
        "work.",
        "Upgrade the operator to the release of the CRDs.",
    )
    # Ready, of a service.
    SERVING = _Facts(
        (SERVICE,), _READY, "True", "BundleCurrent", "The bundle holds what the resources say.", ""
    )
    NOT_PUBLISHED = _Facts(
        (SERVICE,),
        _READY,
        "False",
        "BundleNotPublished",
        "What the resources say could not be published; gates keep the last good bundle.",
        "See BundlePublished: it says what prevents it.",
    )
    POLICY_NOT_APPLIED = _Facts(
        (SERVICE,),
        _READY,
        "False",
        "PolicyNotApplied",
        "The bundle is published, and the NetworkPolicy does not protect the service as asked.",
        "See PolicyApplied: it says what prevents it.",
    )
    # Ready, of a workload.
    TRUSTED = _Facts(
        (WORKLOAD,),
        _READY,
        "True",
        "Trusted",
        "It is in the bundle: gates let its calls in, and nothing that is seen here drops them on their way.",
        "",
    )
    CALLS_DROPPED = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "CallsDropped",
        "It is in the bundle, and the service's NetworkPolicy lets none of its calls arrive.",
        "See Reachable: it says which peer is missing. Where nothing enforces policies, set "
        "spec.networkPolicy.mode of the service to Preview.",
    )
    SUSPENDED = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "Suspended",
        "spec.suspend is true: its calls are refused.",
        "Set spec.suspend to false to trust it again.",
    )
    EXPIRED = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "Expired",
        "spec.expires has passed: its calls are refused.",
        "Set a later spec.expires, or delete the object.",
    )
    NO_ROOM = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "BundleTooLarge",
        "The service's bundle has no room for it: its calls are refused.",
        "Split the service, or trust fewer workloads with it; see the service's BundlePublished.",
    )
    NOT_IN_BUNDLE = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "NotPublished",
        "It is to be trusted, and the bundle that gates read does not hold it: its calls are refused.",
        "See BundlePublished of the service: it says what prevents it.",
    )
    CHANGE_NOT_PUBLISHED = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "ChangeNotPublished",
        "The bundle that gates read holds an earlier version of it: its calls are decided by that one.",
        "See BundlePublished of the service: it says what prevents it.",
    )
    STILL_LET_IN = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "WithdrawalNotPublished",
        "It is not to be trusted, and the bundle that gates read still lets its calls in.",
        "See BundlePublished of the service. To end the trust of all of its workloads at once, delete the "
        "bundle's ConfigMap.",
    )
    ACCOUNT_GONE = _Facts(
        (WORKLOAD,),
        _READY,
        "False",
        "ServiceAccountGone",
        "The ServiceAccount does not exist in this cluster: tokens that it got are refused.",
        "Create the ServiceAccount, or delete this object.",
    )
    SERVICE_NOT_FOUND = _problem(
        (WORKLOAD,),
        ProblemReason.SERVICE_NOT_FOUND,
        "There is no usable ProtectedService of that name in the namespace.",
        "Name a ProtectedService of the same namespace.",
    )
    ISSUER_NOT_FOUND = _problem(
        (WORKLOAD,),
        ProblemReason.ISSUER_NOT_FOUND,
        "There is no usable ClusterTrustedIssuer of that name.",
        "Name an existing one, or ask a cluster admin to add it.",
    )
    ISSUER_UNUSABLE = _problem(
        (WORKLOAD,),
        ProblemReason.ISSUER_UNUSABLE,
        "The ClusterTrustedIssuer is there, and has no key that is trusted now.",
        "Fix the issuer first; its own conditions say how.",
    )
    NAMESPACE_NOT_ALLOWED = _problem(
        (WORKLOAD,),
        ProblemReason.NAMESPACE_NOT_ALLOWED,
        "The issuer does not allow this namespace to rely on it.",
        "Label the namespace as spec.allowedNamespaces of the issuer says, or ask a cluster admin.",
    )
    SUBJECT_CONFLICT = _problem(
        (WORKLOAD,),
        ProblemReason.SUBJECT_CONFLICT,
        "An older object trusts the same subject for the same service; this one is left out.",
        "Keep one object for one workload, with all its grants.",
    )
    NAMESPACE_BUDGET_EXCEEDED = _problem(
        (WORKLOAD,),
        ProblemReason.NAMESPACE_BUDGET_EXCEEDED,
        "Older TrustedWorkloads of this namespace use up what the operator reads of one namespace; this one "
        "is left out, and its calls are refused.",
        "Delete TrustedWorkloads that are not needed or shorten their grants, split the namespace, or ask "
        "the platform's admins to raise the operator's --namespace-max-workloads or --namespace-max-bytes.",
    )
    # KeysFresh.
    STATIC = _Facts((ISSUER, PROVIDER), _FRESH, "True", "Static", "The keys are written in the object.", "")
    FETCHED = _Facts(
        (ISSUER, PROVIDER), _FRESH, "True", "Fetched", "The source of the keys was read last time.", ""
    )
    UNREACHABLE = _Facts(
        (ISSUER,),
        _FRESH,
        "False",
        "Unreachable",
        "The source of the keys cannot be read; the last good keys stay in use.",
        "Make the address that the message names reachable from the operator.",
    )
    ANSWER_REFUSED = _Facts(
        (ISSUER,),
        _FRESH,
        "False",
        "AnswerRefused",
        "What the source answered is not taken; the last good keys stay in use.",
        "Let the source serve a JWKS as the message says.",
    )
    ALL_KEYS_LOST = _Facts(
        (ISSUER,),
        _FRESH,
        "False",
        "AllKeysLost",
        "The source serves no usable key any more; that is refused, and the last good keys stay in use.",
        "Fix the source. To end the trust, revoke the keys or delete the object.",
    )
    NEVER_FETCHED = _Facts(
        (ISSUER, PROVIDER),
        _FRESH,
        "Unknown",
        "NeverFetched",
        "The source of the keys was not read yet.",
        "Wait.",
    )
    # RotationSettled.
    SETTLED = _Facts((ISSUER, DESK), _SETTLED, "True", "Settled", "No key waits, and none retires.", "")
    KEYS_PENDING = _Facts(
        (ISSUER,),
        _SETTLED,
        "False",
        "KeysPending",
        "A new key is served and not trusted yet.",
        "Compare it with the cluster, then run `watchword approve`.",
    )
    APPROVAL_OVERDUE = _Facts(
        (ISSUER,),
        _SETTLED,
        "False",
        "ApprovalOverdue",
        "A new key waits for longer than approveWithinSeconds; it is never taken by itself.",
        "Compare it with the cluster, then run `watchword approve`.",
    )
    KEYS_CONTESTED = _Facts(
        (ISSUER,),
        _SETTLED,
        "False",
        "KeysContested",
        "A key is held by another issuer with the same `iss` too, and is left out here; the others are "
        "trusted.",
        "Remove it from the issuer whose cluster does not sign with it, or approve it on the other one.",
    )
    KEYS_RETIRING = _Facts(
        (ISSUER,),
        _SETTLED,
        "False",
        "KeysRetiring",
        "A key is no longer served, and trusted until retireAfterSeconds are over.",
        "",
    )
    # BundlePublished.
    PUBLISHED = _Facts(
        (SERVICE,), _PUBLISHED, "True", "Published", "The ConfigMap holds the current bundle.", ""
    )
    TOO_LARGE = _Facts(
        (SERVICE,),
        _PUBLISHED,
        "False",
        "TooLarge",
        "The bundle does not fit a ConfigMap (1 MiB when packed). Workloads that were in and are still "
        "trusted stay in, no new one comes in, and suspending, revoking and deleting still work.",
        "Split the service, or trust fewer workloads with it.",
    )
    BUNDLE_NAME_TAKEN = _Facts(
        (SERVICE,),
        _PUBLISHED,
        "False",
        "NameTaken",
        "An object that this ProtectedService does not control has the name of the bundle's ConfigMap, Role "
        "or RoleBinding. It is not touched; where it is the ConfigMap, nothing can be published.",
        "Delete or rename that object, or make the ProtectedService its controller.",
    )
    WRITE_REFUSED = _Facts(
        (SERVICE,),
        _PUBLISHED,
        "False",
        "WriteRefused",
        "The API server refuses the write, or does not carry it out; the last good bundle stays, and it is "
        "tried again.",
        "See what it answered: a missing right, a quota, a webhook or policy, or a namespace that is being "
        "deleted.",
    )
    FROZEN = _Facts(
        (SERVICE,),
        _PUBLISHED,
        "False",
        "Frozen",
        "An object that this bundle depends on is newer than this operator, or has a wrong field, and this "
        "operator started after it was written: the published bundle stays, without what was taken back.",
        "Upgrade the operator to the release of the CRDs, or fix the field that Ready of the object names.",
    )
    # PolicyApplied.
    ENFORCED = _Facts((SERVICE,), _POLICY, "True", "Enforced", "The NetworkPolicy is in place.", "")
    PREVIEWED = _Facts(
        (SERVICE,),
        _POLICY,
        "False",
        "Previewed",
        "The NetworkPolicy is in status.networkPolicyPreview, and nothing applies it.",
        "Set spec.networkPolicy.mode to Enforce once it is right.",
    )
    OFF = _Facts((SERVICE,), _POLICY, "False", "Off", "The service asks for no NetworkPolicy.", "")
    SELECTORS_OVERLAP = _Facts(
        (SERVICE,),
        _POLICY,
        "False",
        "SelectorsOverlap",
        "The NetworkPolicy of another service on the same pods opens the app's port to the network.",
        "Select pods that no other ProtectedService selects, or give both the same upstreamPort.",
    )
    GATE_PORT_OPENED = _Facts(
        (SERVICE,),
        _POLICY,
        "True",
        "GatePortOpened",
        "The NetworkPolicy is applied, and that of another service on the same pods opens the gate's port to "
        "the network all the same: only the gate keeps strangers out.",
        "Select pods that no other ProtectedService selects, or give both the same port.",
    )
    POLICY_NAME_TAKEN = _Facts(
        (SERVICE,),
        _POLICY,
        "False",
        "NameTaken",
        "A NetworkPolicy that this ProtectedService does not control has this name. It is neither changed "
        "nor deleted.",
        "Delete or rename it, or make the ProtectedService its controller.",
    )
    POLICY_REFUSED = _Facts(
        (SERVICE,),
        _POLICY,
        "False",
        "WriteRefused",
        "The API server refuses the NetworkPolicy, or does not carry out its write; it is tried again.",
        "See what it answered: a missing right, a quota, a webhook or policy, or a namespace that is being "
        "deleted.",
    )
    # AudiencesDistinct.
    AUDIENCES_DISTINCT = _Facts(
        (SERVICE,),
        _DISTINCT,
        "True",
        "Distinct",
        "No audience of the service is known to be that of someone else.",
        "",
    )
    AUDIENCE_RESERVED = _Facts(
        (SERVICE,),
        _DISTINCT,
        "False",
        ProblemReason.AUDIENCE_RESERVED.value,
        "An audience in spec.audiences is that of an issuer, the API server or a cloud: the gates do not "
        "accept it, since anyone who receives such a token could use it there.",
        "Remove it; let callers ask for status.audience.",
    )
    AUDIENCE_SHARED = _Facts(
        (SERVICE,),
        _DISTINCT,
        "False",
        ProblemReason.AUDIENCE_SHARED.value,
        "A service of another namespace declares an audience of spec.audiences too: each of the two can use "
        "the tokens that it receives at the other.",
        "Let callers ask for status.audience, then remove it from spec.audiences.",
    )
    # ReportOnly.
    REPORTING = _Facts(
        (SERVICE,),
        _REPORT_ONLY,
        "True",
        "Reporting",
        "Gates only report: what they would refuse passes to the app without an identity, and the "
        "NetworkPolicy is a preview. It ends by itself at spec.reportOnlyUntil.",
        "See with `watchword report` who would be refused, trust them, and remove spec.reportOnlyUntil.",
    )
    REPORT_ONLY_ENDED = _Facts(
        (SERVICE,),
        _REPORT_ONLY,
        "False",
        "Ended",
        "spec.reportOnlyUntil has passed: gates enforce.",
        "Remove spec.reportOnlyUntil.",
    )
    REPORT_ONLY_NOT_ALLOWED = _Facts(
        (SERVICE,),
        _REPORT_ONLY,
        "False",
        ProblemReason.REPORT_ONLY_NOT_ALLOWED.value,
        "The Namespace does not have the label watchword.dev/report-only: allowed, so that "
        "spec.reportOnlyUntil does not count: gates enforce.",
        "An admin labels the Namespace, or the service's owner removes spec.reportOnlyUntil.",
    )
    REPORT_ONLY_TOO_LONG = _Facts(
        (SERVICE,),
        _REPORT_ONLY,
        "False",
        ProblemReason.REPORT_ONLY_TOO_LONG.value,
        "spec.reportOnlyUntil is more than 30 days ahead: it does not count until it is nearer, and gates "
        "enforce.",
        "Write a time of the next 30 days.",
    )
    # Gated.
    PODS_HAVE_GATES = _Facts(
        (SERVICE,), _GATED, "True", "PodsHaveGates", "Every pod that the service selects runs a gate.", ""
    )
    PODS_WITHOUT_GATE = _Facts(
        (SERVICE,),
        _GATED,
        "False",
        "PodsWithoutGate",
        "The service selects pods that run no gate: their app answers every caller that the network lets "
        "through.",
        "Label their pod template watchword.dev/gate: enabled and make them again, or select only pods with "
        "a gate; `watchword doctor` names them.",
    )
    NO_PODS_SELECTED = _Facts(
        (SERVICE,), _GATED, "Unknown", "NoPods", "No pod that the service selects runs here now.", ""
    )
    # Reachable.
    PEERS_MATCH = _Facts(
        (WORKLOAD,), _REACHABLE, "True", "PeersMatch", "A peer of the NetworkPolicy matches its pods.", ""
    )
    NO_POLICY = _Facts(
        (WORKLOAD,), _REACHABLE, "True", "NoPolicy", "The service's NetworkPolicy is not enforced.", ""
    )
    PODS_NOT_MATCHED = _Facts(
        (WORKLOAD,),
        _REACHABLE,
        "False",
        "PodsNotMatched",
        "Pods of this ServiceAccount run here, and no peer matches them: their calls are dropped.",
        "Add a peer to spec.from that matches them.",
    )
    NO_PEERS = _Facts(
        (WORKLOAD,),
        _REACHABLE,
        "False",
        "NoPeers",
        "Neither this object nor the service names a peer: no one reaches the gate.",
        "Add a peer to spec.from, or to the service's networkPolicy.allowFrom.",
    )
    NO_PODS = _Facts(
        (WORKLOAD,), _REACHABLE, "Unknown", "NoPods", "No pod of this ServiceAccount runs here now.", ""
    )
    OTHER_CLUSTER = _Facts(
        (WORKLOAD,),
        _REACHABLE,
        "Unknown",
        "OtherCluster",
        "Its pods run in another cluster, which cannot be seen from here.",
        "",
    )
    BY_ADDRESS = _Facts(
        (WORKLOAD,),
        _REACHABLE,
        "Unknown",
        "ByAddressOnly",
        "Only addresses could match its pods, and those are not looked at: behind SNAT or a load balancer "
        "they are not the pods' own.",
        "Prefer namespaceSelector and podSelector for pods of this cluster.",
    )
    ON_HOST_NETWORK = _Facts(
        (WORKLOAD,),
        _REACHABLE,
        "Unknown",
        "HostNetwork",
        "Its pods run on the host's network, which no selector matches: calls from the node of the gate's "
        "own pod always arrive, and those from other nodes come from the node's address.",
        "Add an ipBlock of the nodes to spec.from, so that calls from every node arrive.",
    )
    # PeersNarrow.
    ONLY_TRUSTED = _Facts(
        (WORKLOAD,),
        _NARROW,
        "True",
        "OnlyTrusted",
        "spec.from matches only pods of ServiceAccounts that the service trusts.",
        "",
    )
    STRANGERS_ADMITTED = _Facts(
        (WORKLOAD,),
        _NARROW,
        "False",
        "StrangersAdmitted",
        "spec.from also matches pods of ServiceAccounts that the service does not trust: they reach the "
        "gate, which refuses them.",
        "Narrow spec.from to the workload's own pods.",
    )
    NOT_KNOWN = _Facts(
        (WORKLOAD,),
        _NARROW,
        "Unknown",
        "Unknown",
        "What its peers let in cannot be seen: they are addresses, or there are none.",
        "",
    )

    # DeskAccepted, of a service that names a desk.
    DESK_TOKENS_ACCEPTED = _Facts(
        (SERVICE,), _DESK_ACCEPTED, "True", "Accepted", "Gates accept tokens of the desk as well.", ""
    )
    DESK_NOT_FOUND = _Facts(
        (SERVICE,),
        _DESK_ACCEPTED,
        "False",
        "DeskNotFound",
        "There is no usable TokenDesk of that name: gates accept no desk's tokens.",
        "Name a TokenDesk of the namespace that is set aside for desks, or ask the platform's admins.",
    )
    DESK_NOT_ALLOWED = _Facts(
        (SERVICE,),
        _DESK_ACCEPTED,
        "False",
        "DeskNotAllowed",
        "The desk does not allow this namespace to rely on it: gates accept no desk's tokens.",
        "Label the namespace as spec.allowedNamespaces of the desk says, or ask the platform's admins.",
    )
    # Ready, of a desk.
    ISSUING = _Facts(
        (DESK,), _READY, "True", "Issuing", "It has a key to sign with, which the bundles hold.", ""
    )
    WRONG_NAMESPACE = _Facts(
        (DESK,),
        _READY,
        "False",
        "WrongNamespace",
        "Desks count only in the namespace that is set aside for them: nothing accepts its tokens.",
        "Ask the platform's admins to make it there (desk.namespace of the chart).",
    )
    ISSUER_TAKEN = _Facts(
        (DESK,),
        _READY,
        "False",
        "IssuerTaken",
        "Its issuer URL, or its name, belongs to another desk, to an issuer, or is reserved.",
        "Give the desk an origin of its own.",
    )
    KEYS_NOT_WRITTEN = _Facts(
        (DESK,),
        _READY,
        "False",
        "KeysNotWritten",
        "The API server refuses the Secrets of the desk's signing keys; what is there stays in use.",
        "See what it answered: a missing right, a quota, or a policy of the desk's namespace.",
    )
    REVOCATIONS_UNREADABLE = _Facts(
        (DESK,),
        _READY,
        "False",
        "RevocationsUnreadable",
        "What the desk wrote down as revoked cannot be read, or is gone; gates keep what they were told, and "
        "one that was told nothing refuses the desk's tokens.",
        "Run desk and operator of one release; see who else wrote the ConfigMap.",
    )
    DESK_NOT_UNDERSTOOD = _Facts(
        (DESK, CLIENT, PROVIDER),
        _READY,
        "False",
        "NotUnderstood",
        "The object says something that this operator does not know. What it understood last stays, and "
        "nothing new counts; keys are still revoked.",
        "Fix the field that the message names, or upgrade the operator to the release of the CRDs.",
    )
    # RotationSettled, of a desk.
    KEY_ROTATING = _Facts(
        (DESK,),
        _SETTLED,
        "False",
        "KeyRotating",
        "A new key is in the bundles and does not sign yet, or one that signs no more is still accepted.",
        "",
    )
    # Ready, of a client.
    CLIENT_ACCEPTED = _Facts(
        (CLIENT,), _READY, "True", "Accepted", "It may ask the desk about tokens for these services.", ""
    )
    CLIENT_WITHOUT_DESK = _Facts(
        (CLIENT,),
        _READY,
        "False",
        "DeskNotFound",
        "There is no usable TokenDesk of that name next to it.",
        "Name a TokenDesk of the same namespace.",
    )
    CLIENT_NOT_NAMED = _Facts(
        (CLIENT,),
        _READY,
        "False",
        "NotNamed",
        "No service that it names is of this desk and names it: it may ask about no token.",
        "The service's owner lists the client in spec.resourceServers.",
    )
    CLIENT_IS_ADMIN = _Facts(
        (CLIENT,), _READY, "True", "Granted", "It may use the admin API of the desk.", ""
    )
    CLIENT_NOT_GRANTED = _Facts(
        (CLIENT,),
        _READY,
        "False",
        "NotGranted",
        "adminServiceAccount is not true: the client may do nothing.",
        "Someone with the verb grant-admin sets adminServiceAccount: true and grantedBy.",
    )
    CLIENT_UNGUARDED = _Facts(
        (CLIENT,),
        _READY,
        "False",
        "PolicyNotInForce",
        "The admission policy on admin clients is missing or altered: no admin flag counts.",
        "Install the release's admission policies again (admissionPolicies.enabled of the chart).",
    )
    CLIENT_GRANT_UNCONFIRMED = _Facts(
        (CLIENT,),
        _READY,
        "False",
        "GrantNotConfirmed",
        "The flag was set before the admission policy was in force, or while it was not: it does not count.",
        "Check spec.authentication, set adminServiceAccount to false, and then to true again.",
    )
    CLIENT_GRANT_PENDING = _Facts(
        (CLIENT,),
        _READY,
        "Unknown",
        "ConfirmingGrant",
        "The admission policy was found in force a moment ago; the flag is judged once that has settled.",
        "Wait a few seconds.",
    )
    CLIENT_ACCOUNT_TAKEN = _Facts(
        (CLIENT,),
        _READY,
        "False",
        "AccountTaken",
        "Another DeskClient of the desk authenticates by the same ServiceAccount, or names the same person "
        "at the same provider: neither counts.",
        "Give each client a ServiceAccount or a person of its own.",
    )
    # Ready and KeysFresh, of a provider of agents.
    PROVIDER_ACCEPTED = _Facts(
        (PROVIDER,), _READY, "True", "Accepted", "The desk takes its assertions of who an agent acts for.", ""
    )
    PROVIDER_WITHOUT_DESK = _Facts(
        (PROVIDER,),
        _READY,
        "False",
        "DeskNotFound",
        "There is no usable TokenDesk of that name next to it: its assertions are refused.",
        "Name a TokenDesk of the same namespace.",
    )
    PROVIDER_WITHOUT_AGENTS = _Facts(
        (PROVIDER,),
        _READY,
        "False",
        "AgentsNotServed",
        "No person can claim an agent at the desk, so that its assertions lead nowhere: they are refused.",
        "Set spec.agents.claimed of the TokenDesk.",
    )
    PROVIDER_ISSUER_TAKEN = _Facts(
        (PROVIDER,),
        _READY,
        "False",
        "IssuerTaken",
        "Another AgentProvider of the desk, or the desk itself, has its issuer: its assertions are refused.",
        "Keep one AgentProvider for each issuer.",
    )
    PROVIDER_SUSPENDED = _Facts(
        (PROVIDER,),
        _READY,
        "False",
        "Suspended",
        "It was suspended: its assertions are refused, and agents that came by it get no token.",
        "Set spec.suspended to false when it may go on.",
    )
    PROVIDER_WITHOUT_KEYS = _Facts(
        (PROVIDER,),
        _READY,
        "False",
        "NoUsableKey",
        "There is no key that its assertions could be verified with: they are refused.",
        "Give public keys of spec.algorithms, each with a kid, or see the condition KeysFresh.",
    )
    PROVIDER_UNREACHABLE = _Facts(
        (PROVIDER,),
        _FRESH,
        "False",
        "Unreachable",
        "The provider's keys cannot be read; those that it served last count for 24 hours from then.",
        "Make the address that the message names reachable from the operator.",
    )
    PROVIDER_ANSWER_REFUSED = _Facts(
        (PROVIDER,),
        _FRESH,
        "False",
        "AnswerRefused",
        "What the provider answered is not taken; the keys that it served last count for 24 hours from then.",
        "Let the provider serve its discovery document and its JWKS as the message says.",
    )

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of which it is said."""
        return self.value.kinds

    @property
    def type(self) -> ConditionType:
        """What it speaks of."""
        return self.value.type

    @property
    def status(self) -> ConditionStatus:
        """Whether that holds."""
        return self.value.status

    @property
    def reason(self) -> str:
        """Why, as a stable code."""
        return self.value.reason

    @property
    def meaning(self) -> str:
        """What is the case, in general."""
        return self.value.meaning

    @property
    def remedy(self) -> str:
        """What to do about it; empty where nothing is to be done."""
        return self.value.remedy

    @property
    def is_told(self) -> bool:
        """Whether turning so is told in an Event: something is wrong, and no one asked for it to be so."""
        return self.status == "False" and self not in _ASKED_FOR

    def with_message(self, detail: str = "", remedy: str = "") -> "ConditionValue":
        """The condition with a message of its own: what is the case here, and what to do about it."""
        said = detail or self.meaning
        end = remedy or self.remedy
        return ConditionValue(self, _sentence(said) + (f" Remedy: {_sentence(end)}" if end else ""))


# What someone wrote, or what the Events on single keys, or of Reachable, tell already.
_ASKED_FOR = frozenset(
    {
        Verdict.SUSPENDED,
        Verdict.PREVIEWED,
        Verdict.OFF,
        Verdict.KEYS_PENDING,
        Verdict.KEYS_RETIRING,
        Verdict.CALLS_DROPPED,
        Verdict.KEY_ROTATING,
        Verdict.CLIENT_NOT_GRANTED,
        Verdict.PROVIDER_SUSPENDED,
        Verdict.REPORT_ONLY_ENDED,
    }
)


class ConditionValue(msgspec.Struct, frozen=True):
    """A condition as it is to be stated.

    Attributes:
        verdict: type, status and reason.
        message: what is the case and what to do about it.
    """

    verdict: Verdict
    message: str


def _sentence(text: str) -> str:
    text = text.strip()
    return text if not text or text[-1] in ".:!?" else f"{text}."
