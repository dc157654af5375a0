# SPDX-License-Identifier: Apache-2.0
"""Keys of other people's clusters: the examples of the RFCs stand, everything odd is named and left out."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import ECKey, RSAKey

from testing.token_keys import EC, RFC_EC, RFC_RSA, UNFIT, b64, loaded, without
from testing.tokens import Signer, signer
from watchword.identity import (
    ALGORITHMS,
    Key,
    KeyProblem,
    load_jwks,
    load_key,
    load_key_objects,
    public_jwk,
    thumbprint_of,
)
from watchword.identity.encoding import decode_base64url


def test_the_thumbprint_of_the_rfc_comes_out() -> None:
    assert loaded(RFC_RSA).thumbprint == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_the_elliptic_key_of_the_rfc_stands_once_it_is_not_for_encryption() -> None:
    assert loaded(without(RFC_EC, "use")).algorithm == "ES256"


@pytest.mark.parametrize("algorithm", sorted(ALGORITHMS))
def test_a_key_says_its_own_algorithm(algorithm: str) -> None:
    jwk = signer(f"key-{algorithm}", algorithm).jwk
    assert loaded(without(jwk, "alg")).algorithm == loaded(jwk).algorithm == algorithm


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(["ES256", "ES384", "ES512"]))
def test_thumbprints_of_elliptic_keys_agree_with_another_library(algorithm: str) -> None:
    jwk = Signer("fresh", algorithm).jwk
    assert loaded(jwk).thumbprint == ECKey.import_key(jwk).thumbprint()


@pytest.mark.parametrize("bits", [2048, 2056, 3072])
def test_thumbprints_of_rsa_keys_agree_with_another_library(bits: int) -> None:
    jwk = Signer("fresh", bits=bits).jwk
    assert loaded(jwk).thumbprint == RSAKey.import_key(jwk).thumbprint()


def test_a_modulus_written_as_a_signed_number_is_the_same_key() -> None:
    plain, signed = (
        load_key(RFC_RSA),
        load_key(RFC_RSA | {"n": b64(b"\0" + decode_base64url(RFC_RSA["n"].encode()))}),
    )
    assert isinstance(plain, Key)
    assert isinstance(signed, Key)
    assert signed.thumbprint == plain.thumbprint
    # What is written on is the shortest form, which every other reader takes.
    assert public_jwk(signed) == public_jwk(plain)


def test_what_is_not_part_of_the_key_does_not_change_its_thumbprint() -> None:
    renamed = without(RFC_RSA, "alg") | {"kid": "other", "use": "sig", "x5t": "AAAA", "key_ops": ["verify"]}
    assert loaded(renamed).thumbprint == loaded(RFC_RSA).thumbprint


@pytest.mark.parametrize("jwk", [RFC_RSA, *(case[2] for case in UNFIT)])
def test_a_thumbprint_is_that_of_the_loaded_key_or_empty(jwk: object) -> None:
    key = load_key(jwk)
    assert thumbprint_of(jwk) == (key.thumbprint if isinstance(key, Key) else "")
    assert bool(thumbprint_of(jwk)) == (jwk is RFC_RSA)


@pytest.mark.parametrize(("field", "jwk"), [case[1:] for case in UNFIT], ids=[case[0] for case in UNFIT])
def test_an_unfit_key_is_left_out_and_its_field_named(field: str, jwk: object) -> None:
    problem = load_key(jwk, 3)
    assert isinstance(problem, KeyProblem)
    assert (problem.field, problem.index) == (field, 3)


@pytest.mark.parametrize("jwk", [case[2] for case in UNFIT], ids=[case[0] for case in UNFIT])
def test_a_problem_shows_no_key_material(jwk: object) -> None:
    said = repr(load_key(jwk))
    members = jwk if isinstance(jwk, dict) else {}
    material = [str(members.get(name)) for name in ("n", "e", "x", "y", "k", "d", "p", "q", "dp", "dq", "qi")]
    assert not [value for value in material if len(value) > 4 and value in said]


def test_the_curve_wins_over_the_size_of_the_point() -> None:
    point_of_p384 = signer("ec-384", "ES384").jwk | {"crv": "P-256", "alg": "ES256"}
    assert isinstance(load_key(point_of_p384), KeyProblem)


def jwks(*keys: object, **members: object) -> bytes:
    return json.dumps({"keys": list(keys), **members}).encode()


def test_good_keys_stand_beside_each_unfit_one() -> None:
    for what, _, jwk in UNFIT:
        found = load_jwks(jwks(RFC_RSA | {"kid": "first"}, jwk, EC))
        assert [key.kid for key in found.keys] == ["first", "ec"], what
        assert [problem.index for problem in found.problems] == [1], what


def test_a_few_keys_of_one_kid_all_stand() -> None:
    found = load_jwks(jwks(RFC_RSA, EC | {"kid": RFC_RSA["kid"]}, EC))
    assert [key.kid for key in found.keys] == [RFC_RSA["kid"], RFC_RSA["kid"], "ec"]
    assert found.problems == ()


def test_more_keys_of_one_kid_than_are_tried_are_all_left_out_and_the_others_stand() -> None:
    crowd = [Signer(f"crowd-{n}", "ES256").jwk | {"kid": "x"} for n in range(5)]
    for order in (crowd, crowd[::-1]):
        found = load_jwks(jwks(*order, EC))
        assert [key.kid for key in found.keys] == ["ec"]
        assert [(problem.index, problem.field) for problem in found.problems] == [
            (n, "kid") for n in range(5)
        ]
    assert len(load_jwks(jwks(*crowd[1:], EC)).keys) == 5


def test_the_same_key_twice_is_one_key() -> None:
    # As a kube-apiserver serves it that was given one key file twice.
    assert [key.kid for key in load_jwks(jwks(EC, EC, RFC_RSA)).keys] == ["ec", RFC_RSA["kid"]]


def test_an_unfit_key_does_not_void_the_good_one_of_its_kid() -> None:
    found = load_jwks(jwks(EC, RFC_RSA | {"kid": "ec", "e": "AQ"}))
    assert [key.kid for key in found.keys] == ["ec"]


def test_members_that_nobody_knows_are_no_problem() -> None:
    assert load_jwks(jwks(EC | {"x5t#S256": "AAAA", "note": [1]}, issued=1)).problems == ()


def numbered(count: int) -> bytes:
    return jwks(*(EC | {"kid": f"k{index}"} for index in range(count)))


VOID: list[tuple[str, Callable[[], bytes]]] = [
    ("nothing", lambda: b""),
    ("not JSON", lambda: b"<html>"),
    ("a list", lambda: b"[]"),
    ("no keys", lambda: b"{}"),
    ("keys null", lambda: b'{"keys":null}'),
    ("keys an object", lambda: b'{"keys":{"a":{}}}'),
    ("keys twice", lambda: b'{"keys":[],"keys":[]}'),
    ("a member of a key twice", lambda: b'{"keys":[{"kid":"a","kid":"b"}]}'),
    ("not UTF-8", lambda: b'{"keys":["\xff"]}'),
    ("a byte order mark", lambda: b"\xef\xbb\xbf" + jwks(EC)),
    ("65 keys", lambda: numbered(65)),
    ("more than 256 KiB", lambda: jwks(EC, pad="x" * 256 * 1024)),
    ("nested without end", lambda: b'{"keys":' + b"[" * 200_000),
]


@pytest.mark.parametrize("data", [case[1] for case in VOID], ids=[case[0] for case in VOID])
def test_what_is_no_key_set_gives_one_problem_and_no_key(data: Callable[[], bytes]) -> None:
    found = load_jwks(data())
    assert found.keys == ()
    assert [(problem.index, problem.field) for problem in found.problems] == [(-1, "keys")]


def test_64_keys_are_taken() -> None:
    assert len(load_jwks(numbered(64)).keys) == 64


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = st.sampled_from(["kty", "kid", "n", "e", "crv", "x", "y", "use", "key_ops", "alg", "d"])


@settings(deadline=None, max_examples=300)
@given(st.dictionaries(MEMBERS, JSON, max_size=5), st.sampled_from([RFC_RSA, EC]))
def test_no_value_of_any_member_crashes_or_moves_the_pin(
    changes: dict[str, Any], base: dict[str, Any]
) -> None:
    found = load_key_objects([base | changes])
    assert len(found.keys) + len(found.problems) == 1
    if found.keys and not {"n", "e", "x", "y", "crv", "kty"} & changes.keys():
        assert found.keys[0].thumbprint == loaded(base).thumbprint
