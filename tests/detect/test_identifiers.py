"""Which stored values can recognise a profile, and which only look like it."""

import base64
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earwitness.detect.consent import is_consent_string
from earwitness.detect.entropy import bits, singles_out
from earwitness.model.tables import TABLES
from tests.detect.browsing import START, History

ANN, BEN = "9f86d081884c7d65", "2c26b46b68ffc68f"
ANN_UUID, BEN_UUID = "550e8400-e29b-41d4-a716-446655440000", "6ba7b814-9dad-11d1-80b4-00c04fd430c8"


def two_profiles(ann: str, ben: str, name: str = "uid", host: str = "acorn.example") -> History:
    history = History()
    history.keeps("ann", host, name, ann)
    history.keeps("ben", host, name, ben)
    return history


def test_a_value_kept_over_visits_and_different_between_profiles():
    history = two_profiles(ANN, BEN, host=".acorn.example")
    (row,) = [row for row in history.identifiers().to_pylist() if row["profile"] == "ann"]
    assert (row["kind"], row["owner_host"], row["value"]) == ("stored", "acorn.example", ANN)
    first = history.rows["cookies"][0]
    assert (row["first_seen"], row["evidence"], row["locator"]) == (first["at"], "sha-v0", "c000")


def test_one_visit_is_not_enough():
    history = History()
    history.keeps("ann", "acorn.example", "uid", ANN, visits=1)
    history.keeps("ben", "acorn.example", "uid", BEN)
    assert history.values("ann") == []
    assert history.values("ben") == [BEN]


def test_a_cookie_that_is_sent_again_was_kept():
    history = two_profiles("x", "y")
    first = history.visit("ann")
    history.cookie(first, ".acorn.example", "uid", ANN)
    second = history.visit("ann")
    history.request(second, "https://sync.acorn.example/p", cookies_sent=f"theme=dark; uid={ANN}")
    rows = history.identifiers().to_pylist()
    assert [(row["owner_host"], row["value"]) for row in rows] == [("acorn.example", ANN)]


def test_a_cookie_that_was_set_before_anybody_looked():
    # Set at sign-in, which is not recorded: known only from being sent, to two hosts of one site.
    history = two_profiles("x", "y")
    for host in ("web.ads.platform.example", "c.ads.platform.example"):
        history.request(history.visit("ann"), f"https://{host}/p", cookies_sent=f"ad-id={ANN}")
    (row,) = history.identifiers().to_pylist()
    assert (row["owner_host"], row["value"]) == ("ads.platform.example", ANN)


def test_a_constant_that_profiles_share():
    assert two_profiles(ANN, ANN).values() == []


def test_a_value_that_another_profile_was_seen_to_send():
    history = two_profiles(ANN, BEN)
    history.request(history.visit("ben"), f"https://px.birch.example/p?build={ANN}")
    assert history.values("ann") == []
    assert history.values("ben") == [BEN]


def test_a_single_profile_shows_no_difference():
    history = History()
    history.keeps("ann", "acorn.example", "uid", ANN)
    assert history.values() == []


def test_values_that_change_with_every_visit():
    history = two_profiles("x", "y")
    for value in (ANN, BEN):
        history.cookie(history.visit("ann"), "acorn.example", "cb", value)
    assert history.values() == []


@pytest.mark.parametrize(
    ("ann", "ben"),
    [
        ("1777885201", "1777885399"),
        ("1777885201123", "1777885399456"),
        ("1777885201123456", "1777885399456789"),
        ("17778852011234821", "17778853994560917"),  # four random digits beside the time
        ("20260504090001", "20260504090319"),
        ("2026-05-04T09:00:01.123Z", "2026-05-04T09:03:19.456Z"),
        ("Mon, 04 May 2026 09:00:01 GMT", "Mon, 04 May 2026 09:03:19 GMT"),
        ("v2|1777885201123|1840957201", "v2|1777885399456|1840957399"),
        (f"{1777885201:x}", f"{1777885399:x}"),
        (f"{1777885201123:x}", f"{1777885399456:x}"),
    ],
)
def test_moments_of_the_first_visit(ann, ben):
    assert two_profiles(ann, ben, name="first").values() == []


@pytest.mark.parametrize(
    ("cookie", "part"),
    [
        ("GA1.2.1283745600.1777885201", "1283745600"),
        (f"{ANN}.1777885201123", ANN),
        (f"{ANN}|1777885201123|dark", ANN),
        (f"v1~{ANN}~en-US", ANN),
        (f"uid={ANN}&seen=3", ANN),
        (f"%7B%22id%22%3A%22{ANN}%22%7D", ANN),
        (f"segments:a,b;id:{ANN_UUID}", ANN_UUID),
        ("1777885201123" + "8305718462", "1777885201123" + "8305718462"),
    ],
)
def test_composites_whose_part_is_long_and_random_beside_the_time(cookie, part):
    history = History()
    history.keeps("ann", "acorn.example", "c", cookie)
    history.keeps("ben", "acorn.example", "c", cookie.replace(part, BEN_UUID))
    assert history.values() == [part]


def test_a_part_that_stays_while_the_rest_of_the_cookie_changes():
    history = two_profiles("x", "y")
    for number in range(2):
        history.cookie(history.visit("ann"), "acorn.example", "s", f"{ANN}|{1777885201123 + number}")
    assert history.values() == [ANN]


def test_base64_keeps_its_own_signs():
    value = base64.b64encode(b"\xfb\xef\xbe-known-bytes-17").decode()
    assert "+" in value or "/" in value
    other = base64.b64encode(b"\xfa\xee\xbd-other-bytes-42").decode()
    assert two_profiles(value, other).values() == [value]


TCF = "CQJ8xMAQJ8xMAAGABCENBSFsAP_gAEPgAAAAKiNV"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("euconsent-v2", "whatever0123456789abcdef"),
        ("OptanonConsent", f"consentId={ANN_UUID}&interactionCount=1"),
        ("choice", TCF),
        ("choice", f"{TCF}.YAAAAAAAAAAA"),
        ("g", "DBABMA~CPXxRfAPXxRfAAfKABENB-CgAAAAAAAAAAYgAAAAAAAA"),
        ("a", "2~43.46.55.61.70.83.89.93.108.117.122.124.135~dv."),
    ],
)
def test_consent_strings(name, value):
    history = two_profiles("x", "y")
    history.keeps("ann", "consentry.example", name, value)
    assert history.values() == []


def test_a_consent_string_of_a_kind_that_nobody_knows_is_known_by_the_parameter_it_travels_in():
    history = two_profiles(ANN, BEN, name="prefs")
    visit = history.visit("ann")
    history.request(visit, f"https://px.birch.example/p?gdpr=1&gdpr_consent={ANN}&cb=1")
    history.request(visit, "https://px.birch.example/b", body=f'{{"user":{{"ext":{{"consent":"{BEN}"}}}}}}')
    assert history.values("ann") == []


def test_a_random_value_that_begins_like_a_consent_string():
    assert not is_consent_string("C0ffee-but-not-a-consent-string-at-all")
    assert is_consent_string(TCF)


def test_replaced_secrets_are_no_identifiers():
    history = two_profiles(f"token:{ANN}", f"token:{BEN}", name="session-id")
    history.request(history.visit("ann"), "https://platform.example/", cookies_sent=f"at-main=token:{ANN_UUID}")
    history.request(history.visit("ann"), "https://platform.example/", cookies_sent=f"at-main=token:{ANN_UUID}")
    assert history.identifiers().num_rows == 0


@pytest.mark.parametrize(
    "value", ["dark", "en-US", "1920x1080", "newsletter-closed", "gardening-tools", "00000000", "12345", "visitorId"]
)
def test_settings_and_words_are_too_plain(value):
    assert not singles_out(value)


@pytest.mark.parametrize("value", [ANN, ANN_UUID, "1283745600", "k3v9x2q8", "aGVsbG8gd29ybGQh", "QWxhZGRpbjpv"])
def test_random_values_are_not(value):
    assert singles_out(value)
    assert bits(value) >= 28


def test_the_login_mail_as_given_and_normalised():
    history = History()
    history.profile("ann", "Ann.Lee+lab@mail.example")
    history.profile("ben", "ben@mail.example")
    assert history.values("ann", "account") == ["Ann.Lee+lab@mail.example", "ann.lee+lab@mail.example"]
    (row,) = [row for row in history.identifiers().to_pylist() if row["profile"] == "ben"]
    assert (row["owner_host"], row["first_seen"]) == (None, None)


def test_an_account_that_two_profiles_share_recognises_neither():
    history = History()
    history.profile("ann", "family@mail.example")
    history.profile("ben", "family@mail.example")
    assert history.identifiers().num_rows == 0


def test_a_value_kept_by_two_sites_has_two_rows():
    history = two_profiles(ANN, BEN)
    history.keeps("ann", "birch.example", "match", ANN)
    rows = [row for row in history.identifiers().to_pylist() if row["profile"] == "ann"]
    assert [row["owner_host"] for row in rows] == ["acorn.example", "birch.example"]
    assert rows[0]["first_seen"] < rows[1]["first_seen"]


def test_nothing_in_nothing_out():
    table = History().identifiers()
    assert table.num_rows == 0
    assert table.schema == TABLES["identifiers"].schema


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(random):
    history = two_profiles(f"{ANN}|1777885201", f"{BEN}|1777885399")
    history.keeps("ann", "birch.example", "match", ANN)
    history.request(history.visit("ben"), "https://a.example/", cookies_sent=f"k={ANN_UUID}")
    history.request(history.visit("ben"), "https://b.a.example/", cookies_sent=f"k={ANN_UUID}")
    expected = history.identifiers()
    for rows in history.rows.values():
        random.shuffle(rows)
    assert history.identifiers().equals(expected)


def test_time_windows_are_relative_to_the_sight():
    # Ten digits that were a moment twenty years ago are a number like any other today.
    old = str(int((START - timedelta(days=7300)).timestamp()))
    assert two_profiles(old, "1283745611").values() == [old]
