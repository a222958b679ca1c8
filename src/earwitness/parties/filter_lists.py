"""Filter lists in Adblock Plus syntax: does a rule name this host as a tracker, and which?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from earwitness.model.errors import BadInput
from earwitness.parties.registrable import normal_host

if TYPE_CHECKING:
    from adblock import Engine

DEBIAN = Path("/usr/share/chromium/extensions/ublock-origin/assets/thirdparties/easylist")
"""EasyList and EasyPrivacy, as Debian's package webext-ublock-origin-chromium installs them."""

# A bare host matches only under the request type that its rule is meant for; these are what trackers are fetched as.
# "ping" is left out: EasyPrivacy has a rule that forbids every ping, whoever it goes to.
_TYPES = ("script", "image", "xmlhttprequest", "sub_frame")

_HEADER = re.compile(r"^!\s*(title|last modified|last updated|updated|date|version)\s*:\s*(.+?)\s*$", re.IGNORECASE)


class FilterList(NamedTuple):
    """One list: its title, its date where known, its text."""

    name: str
    date: str | None
    text: str


class Rule(NamedTuple):
    """The rule that matched, and the list that it stands in."""

    rule: str
    source: str
    date: str | None


@dataclass(frozen=True)
class FilterLists:
    """Lists that work together, as in a blocker: an exception in one lifts a rule of another."""

    lists: Sequence[FilterList]

    def rule(self, host: str) -> Rule | None:
        """The rule that calls `host` a tracker, asked with nothing but the host's name; None where there is none.

        A rule counts only if its pattern holds a label of the host: rules such as ``$ping,third-party`` speak of every
        host there is.
        """
        host = normal_host(host)
        labels = [label for label in host.split(".")[:-1] if label]
        if not self.lists or not labels:
            return None
        for kind in _TYPES:
            answer = self._engine.check_network_urls(f"https://{host}/", "https://first-party.invalid/", kind)
            if not answer.matched or not answer.filter:
                continue
            pattern = answer.filter.rpartition("$")[0] or answer.filter
            if any(label in pattern.lower() for label in labels):
                return self._whose(answer.filter)
        return None

    def _whose(self, rule: str) -> Rule:
        for entry in self.lists:
            if f"\n{rule}\n" in f"\n{entry.text}\n":
                return Rule(rule, entry.name, entry.date)
        return Rule(rule, self.lists[0].name, self.lists[0].date)

    @cached_property
    def _engine(self) -> Engine:
        # Imported and compiled late: it takes a quarter of a second, and many questions never need it.
        from adblock import Engine, FilterSet

        rules = FilterSet(debug=True)
        for entry in self.lists:
            rules.add_filter_list(entry.text)
        return Engine(rules, optimize=False)


def read_filter_list(path: Path) -> FilterList:
    """A filter list; its title and date are what its own head says.

    Single rules that the engine does not know are skipped, as in every blocker.

    Raises:
        BadInput: the file is not readable, not text, or holds no rule.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(str(path), "file", f"a readable file ({error.strerror})") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInput(str(path), f"byte {error.start}", "text in UTF-8") from None
    if "\0" in text:
        raise BadInput(str(path), f"byte {content.index(0)}", "text")
    text = "\n".join(text.splitlines())
    _demand_rules(path, text)
    heads = {found[1].lower(): found[2] for line in text.split("\n")[:40] if (found := _HEADER.match(line))}
    name = heads.pop("title", path.name)
    date = next(filter(None, (_date(value) for value in heads.values())), None)
    return FilterList(name, date, text)


@cache
def debian_lists(folder: Path = DEBIAN) -> FilterLists:
    """EasyList and EasyPrivacy where installed; they bear no date, so the package's file date stands for it."""
    found = []
    for path in sorted(folder.glob("*.txt")):
        read = read_filter_list(path)
        date = datetime.fromtimestamp(path.stat().st_mtime, UTC).date().isoformat()
        found.append(read._replace(date=read.date or date))
    return FilterLists(found)


def _demand_rules(path: Path, text: str) -> None:
    for number, line in enumerate(text.split("\n"), 1):
        rule = line.strip()
        if rule.startswith("<"):
            raise BadInput(str(path), f"line {number}", "a filter rule, not a web page")
        if rule and not rule.startswith(("!", "[", "#")):
            return
    raise BadInput(str(path), f"line {text.count(chr(10)) + 1}", "at least one filter rule")


def _date(value: str) -> str | None:
    """``2025-10-31…``, ``202510310000`` or ``31 Oct 2025 …`` as an ISO date."""
    for text, form in ((value[:10], "%Y-%m-%d"), (value[:8], "%Y%m%d"), (value[:11], "%d %b %Y")):
        try:
            return datetime.strptime(text.strip(), form).replace(tzinfo=UTC).date().isoformat()
        except ValueError:
            continue
    return None
