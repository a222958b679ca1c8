"""What the platform knows: accounts, whose advertising cookie is whose, matched partners, inferred interests.

Kept in `state.jsonl` in the truth directory, one line for each thing learnt, so that a lab started again after a
`kill -9` is the same platform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earwitness.lab.draws import identifier
from earwitness.lab.truth import Journal, Truth, now_us, read_journal
from earwitness.lab.world import World
from earwitness.model.network import Enrolled

STATE = "state.jsonl"


@dataclass(frozen=True)
class When:
    """When in the plan something happens: the phase and its iteration, as the study announced them."""

    phase: str = ""
    iteration: int = 0


class PlatformState:
    """The platform's memory. Nothing in it depends on which address a request came to."""

    def __init__(self, world: World, truth: Truth, enrolled: Sequence[Enrolled]) -> None:
        self._world, self._truth = world, truth
        self._enrolled = {one.account: one for one in enrolled}
        self._when: dict[str, When] = {}
        self._account_of_ad_id: dict[str, str] = {}
        self._ad_id_of_match: dict[tuple[str, str], str] = {}
        self._interactions: dict[tuple[str, str], set[tuple[str, str, str, int]]] = {}
        self._interests: dict[str, set[str]] = {}
        path: Path = truth.directory / STATE
        for entry in read_journal(path):
            self._learn(entry)
        self._journal = Journal(path)

    def close(self) -> None:
        """Close the journal; a second call does nothing."""
        self._journal.close()

    # -- the plan

    def announce(self, profile: str, phase: str, iteration: int) -> None:
        """From now on, what `profile` does belongs to that phase and iteration."""
        self._when[profile] = When(phase, iteration)

    def when(self, profile: str) -> When:
        """Where `profile` stands in the plan."""
        return self._when.get(profile, When())

    # -- accounts

    def account_with_password(self, email: str, password: str) -> str | None:
        """The account of those credentials; None where they are wrong."""
        one = self._enrolled.get(email)
        return one.account if one and password == one.password else None

    def account_of_refresh_token(self, token: str) -> str | None:
        """The account whose device holds that refresh token."""
        return next((one.account for one in self._enrolled.values() if one.refresh_token == token), None)

    def access_token(self, account: str) -> str:
        """The access token of that account's device; the same for the whole study."""
        return "Atza|" + identifier(self._world.seed, "base64url", "access token", account)

    def account_of_access_token(self, token: str) -> str | None:
        """The account that an `authorization: Bearer` token stands for."""
        return next((account for account in self._enrolled if self.access_token(account) == token), None)

    def session_cookie(self, cookie: str, account: str) -> str:
        """The value of `at-main` or `session-id` for that account."""
        return identifier(self._world.seed, "hex32", cookie, account)

    def account_of_session(self, at_main: str | None) -> str | None:
        """The account signed in with that `at-main` cookie."""
        return next((account for account in self._enrolled if self.session_cookie("at-main", account) == at_main), None)

    def profile_of(self, account: str) -> str:
        """The profile that an account belongs to, for the truth log only."""
        return self._enrolled[account].profile

    # -- advertising

    def bind(self, ad_id: str, account: str) -> None:
        """The browser with that advertising cookie is signed in to that account."""
        self._note({"what": "bind", "ad_id": ad_id, "account": account})

    def match(self, organisation: str, identifier: str, ad_id: str) -> None:
        """A partner sent its identifier from the browser with that advertising cookie."""
        self._note({"what": "match", "organisation": organisation, "identifier": identifier, "ad_id": ad_id})

    def is_matched(self, organisation: str, identifier: str | None) -> bool:
        """Whether the platform can tell which of its browsers a partner's identifier stands for."""
        return (organisation, identifier or "") in self._ad_id_of_match

    def interests_behind(self, organisation: str, identifier: str | None) -> frozenset[str]:
        """The interests that the platform offers for a partner's identifier; none where it was never matched."""
        ad_id = self._ad_id_of_match.get((organisation, identifier or ""), "")
        return frozenset(self._interests.get(self._account_of_ad_id.get(ad_id, ""), ()))

    # -- voice

    def interaction(self, account: str, skill: str, utterance: str, at: int | None = None) -> None:
        """A recognised utterance to a skill, at a time in UTC microseconds; enough of them make an interest.

        The same utterance in the same phase and iteration counts once: an interrupted interaction that is repeated
        leaves the platform as an uninterrupted one would.
        """
        profile = self.profile_of(account)
        when = self.when(profile)
        self._note(
            {
                "what": "interaction",
                "account": account,
                "category": self._world.skills[skill].category,
                "which": [skill, utterance, when.phase, when.iteration],
            }
        )
        category = self._world.skills[skill].category
        count = len(self._interactions[account, category])
        if count >= self._world.interactions_to_infer and category not in self._interests.get(account, ()):
            self._note({"what": "interest", "account": account, "interest": category})
            self._truth.write(
                "truth_interests",
                profile=profile,
                interest=category,
                inferred_at=at or now_us(),
                because=f"{count} interactions, the last: {utterance}",
            )

    # -- memory

    def _note(self, entry: dict[str, Any]) -> None:
        if self._learn(entry):
            self._journal.append(entry)

    def _learn(self, entry: dict[str, Any]) -> bool:
        """Take an entry in; whether it was news."""
        if entry["what"] == "bind":
            known = self._account_of_ad_id.get(entry["ad_id"]) == entry["account"]
            self._account_of_ad_id[entry["ad_id"]] = entry["account"]
            return not known
        if entry["what"] == "match":
            key = (entry["organisation"], entry["identifier"])
            known = self._ad_id_of_match.get(key) == entry["ad_id"]
            self._ad_id_of_match[key] = entry["ad_id"]
            return not known
        if entry["what"] == "interaction":
            counted = self._interactions.setdefault((entry["account"], entry["category"]), set())
            size = len(counted)
            counted.add(tuple(entry["which"]))
            return len(counted) > size
        interests = self._interests.setdefault(entry["account"], set())
        known = entry["interest"] in interests
        interests.add(entry["interest"])
        return not known
