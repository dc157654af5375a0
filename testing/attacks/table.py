# SPDX-License-Identifier: Apache-2.0
"""`python -m testing.attacks.table` writes docs/reference/attacks.md: what is tried where, and how often.

Counted from the cases themselves, so that the page cannot promise what no test does.
"""

from collections import Counter
from pathlib import Path

from testing.attacks.events import EVENTS, POINTERS
from testing.attacks.framing import FRAMING, UPGRADES
from testing.attacks.grants import GRANTS
from testing.attacks.headers import HEADERS, TOKEN_COPIES
from testing.attacks.http_requests import OPS, REQUESTS
from testing.attacks.keys import KEY_SETS, KEYS
from testing.attacks.queries import QUERY_REQUESTS
from testing.attacks.tokens_all import TOKENS
from testing.attacks.tokens_desk import DESK_TOKENS
from testing.attacks.trust import FILES
from testing.attacks.usage_bodies import USAGE_BODIES

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "attacks.md"
ATTACKS = {
    # class: what it is; where it was seen
    "T1": ("a public key used as an HMAC secret", "CVE-2022-29217, CVE-2024-33663, CVE-2026-48526"),
    "T2": ("an allowed `alg` with a key of another algorithm", "CVE-2026-48523"),
    "T3": ("the key taken from the header, or chosen by it", "CVE-2026-27962"),
    "T4": ("unknown `crit`, `b64: false`, detached payload", "CVE-2026-32597, CVE-2025-59420"),
    "T5": ("audience unchecked or loosely compared", "CVE-2023-22482, CVE-2026-55669"),
    "T6": ("times unchecked, optional or of a wrong type", "GHSA-wxg7-w2v3-w38g"),
    "T7": ("issuer compared in part", "GHSA-75c5-xw7c-p5pm"),
    "T8": ("memory and time before the signature", "CVE-2025-27144, CVE-2025-30204, GHSA-8wjv-2p76-3863"),
    "T9": ("loose base64url", "GHSA-hxm8-2xgr-2p9m"),
    "T10": ("encrypted or compressed input", "CVE-2024-33664, CVE-2024-28180"),
    "T11": ("weak or odd keys", "CVE-2026-26007"),
    "T12": ("one copy verified, another used", "SPIRE 1.14.6, 1.15.1"),
    "K1": ("a default key when a fetch fails", "CVE-2026-31837"),
    "K2": ("fetches of keys turned against others", "CVE-2026-41413, CVE-2026-49478"),
    "K3": ("a flood of unknown keys", "CVE-2026-48524"),
    "K4": ("one bad key voids its set", "GHSA-w6j9-cwv2-h6wq"),
    "K5": ("two credentials in one request", "CVE-2025-64527"),
    "K6": ("one trusted cluster puts out another", "advisory 4"),
    "K7": ("a credential sent where an issuer's editor says", "advisory 9"),
    "K8": ("keys trusted that their source holds no more", "advisory 10"),
    "P1": ("names read as patterns", "CVE-2026-39350"),
    "P2": ("references across namespaces", "CVE-2026-41174, CVE-2026-53718"),
    "P3": ("a decision cached under too small a key", "CVE-2026-33496, CVE-2026-71326"),
    "P4": ("something missing or late means yes", "CVE-2026-54762, CVE-2026-27586"),
    "P5": ("an object that exhausts its reader", "CVE-2025-25207, CVE-2025-25208"),
    "P6": ("only one of several values looked at", "CVE-2026-26308, CVE-2026-31838"),
    "P7": ("one-time use raced", "SPIRE 1.14.6"),
    "P8": ("a grant for a part opens the whole", "advisory 5"),
    "P9": ("what is only reported becomes a yes, or lasts", ""),
    "B1": ("a bundle written by another than the operator", "advisory 3"),
    "B2": ("a generation that keeps every later one out", "advisory 3"),
    "B3": ("trust that outlives its object", "advisory 12"),
    "B4": ("the operator's token used to write something else", "advisory 3"),
    "B5": ("an object of a person taken for the operator's own", "advisory 8"),
    "B6": ("a status that says the opposite of what gates do", "advisory 11"),
    "B7": ("a status that names objects of another namespace", "advisory 20"),
    "A1": ("an object that names its callers' audience", "advisory 2"),
    "A2": ("a pod that asked for a gate and was given none", "advisory 13"),
    "D1": ("a desk token where a cluster's belongs, or the other way round", "RFC 9068, section 5"),
    "D2": ("keys of desks and clusters confused", ""),
    "D3": ("a desk token outlives what it was made from", "CVE-2026-96460"),
    "D4": ("a desk token allows more than its workload, or elsewhere", "CVE-2026-37979"),
    "H1": ("forwarded path or method spoofed", "CVE-2026-40575, CVE-2026-33495"),
    "H2": ("exemption by a header", "CVE-2026-34457"),
    "H3": ("twins of a header's name", "CVE-2025-64484, CVE-2026-54763"),
    "H4": ("an identity header absent in a yes", "CVE-2026-30851"),
    "H5": ("`Connection` names an identity header", "CVE-2024-45410, CVE-2026-29054"),
    "H6": ("two readings of one path", "CVE-2026-33494, CVE-2026-42272, CVE-2026-40912"),
    "H7": ("a URL rebuilt from `Host`", "CVE-2026-48710"),
    "H8": ("a body's framing hides a request", "CVE-2026-50197, CVE-2025-43859, advisory 6"),
    "H9": ("a door that no one meant to open", "CVE-2024-40632, CVE-2025-24030"),
    "H10": ("tokens in logs", "CVE-2024-35223, CVE-2022-23469"),
    "H11": ("an `Upgrade` hides a request in a body", "h2c smuggling, advisory 1"),
    "H12": (
        "a header carries a second method, path, origin or identity",
        "CVE-2025-29927, CVE-2016-5385, advisory 6",
    ),
    "H13": ("a connection outlives its trust", "advisory 7"),
    "H14": ("the account of a query or a form, for one reader of two", "HTTP parameter pollution"),
    "H15": ("the caller's token reaches the app", ""),
    "H16": ("HTTP/2 fields that are another request in HTTP/1.1", "CVE-2021-33193, CVE-2025-57804"),
    "H17": ("bodies and answers of streams that take turns", ""),
    "F1": ("trailers without end", "advisory 14"),
    "F2": ("requests pipelined by a caller that reads nothing", "advisory 15"),
    "F3": ("requests without end to the webhook or an ops port", "advisory 16"),
    "F4": ("objects of one namespace that exhaust the operator", "advisory 17"),
    "F5": (
        "HTTP/2 frames that carry nothing",
        "CVE-2019-9512, CVE-2019-9513, CVE-2019-9515, CVE-2019-9517, CVE-2019-9518",
    ),
    "F6": ("HTTP/2 streams that are reset at once", "CVE-2023-44487, CVE-2019-9514"),
    "F7": ("HTTP/2 header fields without end, or small and large once unpacked", "CVE-2024-27316"),
    "F8": ("TLS handshakes that stall", "advisory 15"),
    "F9": ("a caller in its handshake put out by those who hold bytes", "advisory 15"),
    "F10": ("a pipeline that keeps the event loop from all others", "advisory 15"),
    "D5": ("another credential put in place of an admin's, or its flag set without the right", ""),
    "D6": ("an admin's token where an account's belongs", ""),
    "L1": ("a refusal whose caller is proven and not named", "advisory 22"),
    "U1": ("SQL from a meter's definition", "CVE-2026-8462"),
    "U2": ("events counted for no one, or wrongly", ""),
    "U3": ("one tenant's event ids taken by another", "advisory 19"),
    "U4": ("a small body that is large once it is parsed", "advisory 18"),
    "U5": ("replicas that each count a repeated event", "advisory 21"),
}
# Classes whose attack is a course of events and no single input: tried by the named test itself.
SCENARIOS = {
    "K1": "test_whatever_the_endpoint_does_callers_stay_and_a_good_answer_mends_it",
    "K2": "test_nothing_follows_a_redirect_to_another_host_and_no_credential_either",
    "K3": "test_a_flood_of_strange_keys_costs_the_good_token_nothing",
    "K6": "test_what_another_issuer_serves_puts_none_out",
    "K7": "test_a_secret_of_the_operators_namespace_goes_to_no_host_that_it_does_not_name",
    "K8": "test_an_issuer_that_is_made_again_trusts_what_its_config_map_holds_now",
    "P3": "test_one_token_gets_another_answer_on_another_route",
    "P4": "test_without_a_bundle_nobody_is_let_in_and_a_broken_one_keeps_the_last",
    "B1": "test_no_verb_of_a_namespaces_editor_or_admin_reaches_a_bundle",
    "B2": "test_a_forged_generation_of_the_far_future_is_overwritten_by_one_of_now",
    "B3": "test_a_deleted_bundle_ends_the_trust_and_only_the_api_server_restores_it",
    "B4": "test_the_operators_token_writes_nothing_else",
    "B5": "test_the_policy_that_compile_prints_stays_where_the_service_asks_for_none",
    "B6": "test_while_nothing_can_be_published_each_status_says_what_gates_do",
    "B7": "test_no_text_of_one_namespace_names_another_ones_objects",
    "A1": "test_a_caller_gets_the_derived_audience_whatever_the_callee_declares",
    "A2": "test_a_pod_that_was_given_nothing_is_refused_everywhere",
    "H7": "test_what_is_no_host_and_port_does_not_reach_the_app",
    "H16": "test_what_is_no_request_is_none",
    "H17": "test_bodies_of_streams_that_take_turns_stay_apart",
    "D5": "test_who_may_edit_and_not_grant_cannot_put_her_credential_in_place",
    "D6": "test_an_admin_token_is_403_on_every_route_of_gate_and_usage",
    "P7": "test_an_own_assertion_is_used_once",
    "P9": "test_no_order_of_times_lets_pass_what_was_refused",
    "F5": "test_frames_that_carry_nothing_end_their_connection",
    "F6": "test_rapid_resets_end_their_connection_before_the_app_feels_them",
    "F7": "test_a_block_of_fields_without_end_is_cut_off",
    "F8": "test_stalled_handshakes_take_nothing_of_what_requests_may_hold",
    "F9": "test_a_caller_in_its_handshake_makes_room_for_no_one_who_holds_bytes",
    "F10": "test_a_long_pipeline_lets_others_have_their_turn",
    "F1": "test_a_gate_that_proxies_endures_a_trusted_callers",
    "F2": "test_pipelining_without_reading",
    "F3": "test_the_webhook_endures",
    "F4": "test_a_namespace_of_the_largest_objects_leaves_the_operator_within_its_memory",
    "L1": "test_a_refusal_behind_the_signature_names_who_was_refused",
    "U5": "test_several_replicas_that_count_usage_alone_are_refused_unless_accepted",
    "H4": "test_a_yes_has_each_identity_header_once_and_never_the_callers_own",
    "H8": "test_a_body_of_two_lengths_hides_no_second_request",
    "H13": "test_a_bundle_that_withdraws_trust_ends_it_at_once",
    "U3": "test_one_tenant_cannot_use_up_the_ids_of_another",
    "H10": "the fixture `gate`, which reads everything that the gate wrote",
}
LATER: dict[str, str] = {}
FAMILIES = [
    (TOKENS, "tokens at the checks, at a compiled policy and at a running gate"),
    (DESK_TOKENS, "desk tokens at a compiled policy and at a gate"),
    (KEYS, "keys"),
    (KEY_SETS, "key sets"),
    (FILES, "manifests"),
    (POINTERS, "meters"),
    (EVENTS, "usage events"),
    ([*HEADERS, *TOKEN_COPIES], "headers through a running gate to a real app"),
    (
        [*GRANTS, *USAGE_BODIES, *REQUESTS, *QUERY_REQUESTS, *OPS, *FRAMING, *UPGRADES],
        "HTTP requests at a running gate",
    ),
]


def counts() -> Counter[str]:
    """Cases by class."""
    return Counter(case.attack for cases, _ in FAMILIES for case in cases)


def page() -> str:
    """The page."""
    lines = [
        "# Attacks that are tried",
        "",
        "Generated by `python -m testing.attacks.table`. Each case is sent cold, again (from the cache,",
        "where there is one), and to a gate on a connection whose bytes its fast path knows, and must get",
        "exactly its reason. Besides, 100,000 mutated tokens are judged next to PyJWT and joserfc, and all",
        f"parsers are fuzzed. {counts().total()} cases in all.",
        "Advisories are those of the changelog, by number.",
        "",
        "| class | attack | seen as | cases | tried with |",
        "|---|---|---|---|---|",
    ]
    for attack, (what, seen) in ATTACKS.items():
        where = [name for cases, name in FAMILIES if any(case.attack == attack for case in cases)]
        where += (
            [f"`{SCENARIOS[attack]}`" if attack != "H10" else SCENARIOS[attack]]
            if attack in SCENARIOS
            else []
        )
        where += [f"not yet: {LATER[attack]}"] if attack in LATER else []
        lines.append(f"| {attack} | {what} | {seen} | {counts()[attack] or ''} | {'; '.join(where)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
