import base64

from earwitness.lab.consent import consent_string


def test_the_string_is_a_version_two_core_string_that_holds_its_time() -> None:
    text = consent_string(1_700_000_000_300_000)
    assert text.startswith("C") and "=" not in text
    bits = "".join(f"{byte:08b}" for byte in base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    assert int(bits[:6], 2) == 2
    assert int(bits[6:42], 2) == int(bits[42:78], 2) == 17_000_000_003
    assert int(bits[213:229], 2) == 128


def test_two_people_have_different_strings() -> None:
    assert consent_string(1_700_000_000_300_000) != consent_string(1_700_000_000_400_000)
