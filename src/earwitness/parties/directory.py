"""The directory of hosts: one answer from several lists, best source first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from earwitness.model.tables import TABLES
from earwitness.parties.filter_lists import (
    DEBIAN,
    FilterLists,
    Rule,
    debian_lists,
    read_filter_list,
)
from earwitness.parties.ownership import (
    Owned,
    OwnershipList,
    read_entities,
    read_third_party_web,
    speaker_hosts,
)
from earwitness.parties.registrable import registrable_domain
from earwitness.parties.third_party_web import Installed, installed


@dataclass(frozen=True)
class Directory:
    """What is publicly known of hosts. Made by `load`; public lists are read when first needed.

    `gaps` holds a row of the table of that name for each public list that is not installed.
    """

    _given: Sequence[OwnershipList]
    _filters: FilterLists
    _public: Installed | None
    _blocking: Path
    gaps: Sequence[Mapping[str, Any]] = field(default=())

    @classmethod
    def load(cls, ownership: Sequence[Path] = (), filters: Sequence[Path] = ()) -> Directory:
        """A directory from the user's lists, ours, and the public ones that are installed.

        Args:
            ownership: lists in DuckDuckGo's entity format, asked first, in this order.
            filters: filter lists in Adblock Plus syntax, asked first, together.

        Raises:
            BadInput: a user's list is not what it claims to be.
        """
        public = installed()
        missing = [] if public else [("third-party-web", "run: npm ci --ignore-scripts")]
        if not any(DEBIAN.glob("*.txt")):
            missing.append(("EasyList", "run: apt-get install webext-ublock-origin-chromium"))
        return cls(
            [read_entities(path) for path in ownership],
            FilterLists([read_filter_list(path) for path in filters]),
            public,
            DEBIAN,
            [
                {
                    "stage": "parties",
                    "subject": name,
                    "reason": "list_missing",
                    "detail": f"{name} is not installed: owners and purposes may be unknown; {mend}",
                }
                for name, mend in missing
            ],
        )

    def hosts(self, hosts: Iterable[str]) -> pa.Table:
        """One row of the table `hosts` per distinct host, sorted by host.

        The organisation comes from the first list that knows one: the user's, ours, third-party-web; the registrable
        domain stands for it where none does. The purpose comes from the user's filter lists, then ours, then EasyList
        and EasyPrivacy, then third-party-web's category; else it is ``unknown``. Filter lists are asked with the host's
        name alone, so that a host of which only some addresses track is not called a tracker. `rule` is the matched
        rule; where an ownership list decided, its reason.

        Hosts of cloud customers are not given to the company that runs the cloud: who rents there is another party.
        """
        return TABLES["hosts"].arrow(self._row(host) for host in sorted(set(hosts)))

    def _row(self, host: str) -> dict[str, Any]:
        site = registrable_domain(host)
        owned = self._owned(host)
        purpose, rule = self._purpose(host)
        return {
            "host": host,
            "site": site,
            "organisation": self._one_name(owned.organisation) if owned else site,
            "purpose": purpose,
            "rule": rule.rule if rule else None,
            "source": owned.source if owned else "registrable_domain",
            "source_date": owned.date if owned else None,
            "purpose_source": rule.source if rule else None,
            "purpose_source_date": rule.date if rule else None,
        }

    def _owned(self, host: str) -> Owned | None:
        for known in (*self._given, self._ours[0]):
            if found := known.find(host):
                return found
        return self._third_party_web.find(host)

    def _purpose(self, host: str) -> tuple[str, Rule | None]:
        if rule := self._filters.rule(host):
            return "advertising_tracking", rule
        ours = self._ours[0].find(host)
        if answer := _labelled(ours):
            return answer
        if rule := self._easylist.rule(host):
            return "advertising_tracking", rule
        # third-party-web files whole companies under the product that web pages embed (all of apple.com under an ad
        # product), so its word counts only for domains that our list leaves out.
        known = None if ours else self._third_party_web.find(host)
        return _labelled(known) or ("unknown", None)

    def _one_name(self, organisation: str) -> str:
        return self._ours[1].get(organisation.casefold(), organisation)

    @property
    def _ours(self) -> tuple[OwnershipList, Mapping[str, str]]:
        return speaker_hosts()

    @property
    def _third_party_web(self) -> OwnershipList:
        return read_third_party_web(*self._public) if self._public else OwnershipList({})

    @property
    def _easylist(self) -> FilterLists:
        return debian_lists(self._blocking)


def _labelled(owned: Owned | None) -> tuple[str, Rule] | None:
    """The purpose that an ownership list gives, with its reason in the place of a rule."""
    if owned is None or owned.purpose is None:
        return None
    return owned.purpose, Rule(owned.reason or "", owned.source, owned.date)
