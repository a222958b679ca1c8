from collections.abc import Iterator
from pathlib import Path

import pytest

from earwitness.lab.platform_state import PlatformState
from earwitness.lab.truth import Truth
from earwitness.lab.world import World
from earwitness.model.network import Enrolled
from tests.lab.conftest import truth


@pytest.fixture
def state(tmp_path: Path, world: World, enrolled: list[Enrolled]) -> Iterator[PlatformState]:
    record = Truth(tmp_path)
    made = PlatformState(world, record, enrolled)
    yield made
    made.close()
    record.close()


def _matched(state: PlatformState, account: str) -> None:
    state.bind("ad-1", account)
    state.match("openx", "ox-1", "ad-1")


def test_an_interest_needs_enough_interactions_a_match_and_a_signed_in_browser(
    state: PlatformState, world: World, enrolled: list[Enrolled]
) -> None:
    account, skill = enrolled[0].account, next(iter(world.skills.values()))
    state.announce(enrolled[0].profile, "interact", 1)
    state.interaction(account, skill.skill, skill.utterances[0].text)
    _matched(state, account)
    assert state.interests_behind("openx", "ox-1") == frozenset()
    state.interaction(account, skill.skill, skill.utterances[1].text)
    assert state.interests_behind("openx", "ox-1") == {"Pets & Animals"}
    assert state.interests_behind("index", "ox-1") == frozenset()
    assert state.interests_behind("openx", "ox-2") == frozenset()
    assert state.interests_behind("openx", None) == frozenset()
    state.match("openx", "ox-2", "ad of nobody")
    assert state.is_matched("openx", "ox-2")
    assert state.interests_behind("openx", "ox-2") == frozenset()


def test_an_interaction_repeated_after_an_interruption_counts_once(
    state: PlatformState, world: World, enrolled: list[Enrolled]
) -> None:
    account, skill = enrolled[0].account, next(iter(world.skills.values()))
    _matched(state, account)
    for _ in range(3):
        state.announce(enrolled[0].profile, "interact", 1)
        state.interaction(account, skill.skill, skill.utterances[0].text)
    assert state.interests_behind("openx", "ox-1") == frozenset()
    state.announce(enrolled[0].profile, "interact", 2)
    state.interaction(account, skill.skill, skill.utterances[0].text)
    assert state.interests_behind("openx", "ox-1") == {"Pets & Animals"}


def test_what_was_learnt_outlives_the_process_and_is_told_once(
    state: PlatformState, tmp_path: Path, world: World, enrolled: list[Enrolled]
) -> None:
    account, skill = enrolled[0].account, next(iter(world.skills.values()))
    _matched(state, account)
    for utterance in skill.utterances:
        state.interaction(account, skill.skill, utterance.text, at=1_700_000_000_000_000)
    again = PlatformState(world, Truth(tmp_path), enrolled)
    assert again.interests_behind("openx", "ox-1") == {"Pets & Animals"}
    again.interaction(account, skill.skill, "something else")
    inferred = truth(tmp_path, "truth_interests")
    assert [(row["profile"], row["interest"]) for row in inferred] == [(enrolled[0].profile, "Pets & Animals")]
    assert "2 interactions" in str(inferred[0]["because"])


def test_credentials_and_tokens_lead_to_their_own_account(state: PlatformState, enrolled: list[Enrolled]) -> None:
    first, second = enrolled[:2]
    assert state.account_with_password(first.account, first.password) == first.account
    assert state.account_with_password(first.account, second.password) is None
    assert state.account_with_password("nobody@mail.example", first.password) is None
    assert state.account_of_refresh_token(second.refresh_token) == second.account
    assert state.account_of_refresh_token("forged") is None
    assert state.account_of_access_token(state.access_token(first.account)) == first.account
    assert state.account_of_session(state.session_cookie("at-main", second.account)) == second.account
    assert state.account_of_session(None) is None
