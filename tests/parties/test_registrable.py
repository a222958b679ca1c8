import pytest
from hypothesis import given
from hypothesis import strategies as st

from earwitness.parties import registrable_domain


@pytest.mark.parametrize(
    ("host", "site"),
    [
        ("pixel.tracker.co.uk", "tracker.co.uk"),
        ("play.podtrac.com", "podtrac.com"),
        ("PLAY.Podtrac.COM.", "podtrac.com"),
        # Private suffixes: each customer of a cloud is a site of its own.
        ("a.d28756ok3q8pa.cloudfront.net", "d28756ok3q8pa.cloudfront.net"),
        ("bucket.s3.amazonaws.com", "bucket.s3.amazonaws.com"),
        # A host that is itself a suffix, and suffixes that nobody knows: the last two labels.
        ("s3.eu-west-2.amazonaws.com", "amazonaws.com"),
        ("co.uk", "co.uk"),
        ("sync.cdn.tracker.example", "tracker.example"),
        ("localhost", "localhost"),
        # Addresses stand for themselves.
        ("192.168.1.70", "192.168.1.70"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("", ""),
    ],
)
def test_registrable_domain(host, site):
    assert registrable_domain(host) == site


@given(st.text(max_size=60))
def test_any_text_has_an_answer(text):
    assert isinstance(registrable_domain(text), str)


@given(st.lists(st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True), min_size=2, max_size=5))
def test_a_registrable_domain_is_its_own(labels):
    site = registrable_domain(".".join(labels))
    assert registrable_domain(site) == site
