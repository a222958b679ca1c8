"""Lists of who owns which domain: reading them, and looking a host up in them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from earwitness.model.errors import BadInput
from earwitness.parties.registrable import names_to_look_up, normal_host, registrable_domain


class Owned(NamedTuple):
    """What a list says of a domain and everything below it."""

    organisation: str
    purpose: str | None
    source: str
    date: str | None
    reason: str | None


@dataclass(frozen=True)
class OwnershipList:
    """One list: domain → what it says. A longer domain beats a shorter one."""

    domains: Mapping[str, Owned]

    def find(self, host: str) -> Owned | None:
        """What the list says of `host`, or None."""
        for name in names_to_look_up(host):
            if found := self.domains.get(name):
                return found
        return None


def read_entities(path: Path) -> OwnershipList:
    """A user's list in DuckDuckGo's entity format: ``{name: {"properties": [domain, …], …}}``.

    An entity's `displayName` is preferred to its name. Of two entities that claim one domain the first counts. The
    format carries no date, so answers from it have none.

    Raises:
        BadInput: the file is not readable, not JSON, or not of that shape.
    """
    content = _json(path)
    if not isinstance(content, dict):
        raise BadInput(str(path), "top level", "an object of organisations")
    domains: dict[str, Owned] = {}
    for name, entity in content.items():
        properties = entity.get("properties") if isinstance(entity, dict) else None
        if not isinstance(properties, list) or not all(isinstance(p, str) for p in properties):
            raise BadInput(str(path), f"entity {name!r}", 'an object with "properties", a list of domains')
        shown = entity.get("displayName")
        organisation = shown if isinstance(shown, str) and shown.strip() else name
        for domain in properties:
            owned = Owned(organisation, None, path.name, None, None)
            domains.setdefault(normal_host(domain), owned)
    return OwnershipList(domains)


# What the categories of third-party-web mean in our words. Social networks and customer-success tools follow visitors
# over sites as advertising does; "other" says nothing.
_PURPOSES = {
    "ad": "advertising_tracking",
    "analytics": "advertising_tracking",
    "marketing": "advertising_tracking",
    "social": "advertising_tracking",
    "tag-manager": "advertising_tracking",
    "content": "content",
    "video": "content",
    "cdn": "functional",
    "consent-provider": "functional",
    "customer-success": "functional",
    "hosting": "functional",
    "utility": "functional",
}


@cache
def read_third_party_web(path: Path, source: str, date: str | None) -> OwnershipList:
    """The public third-party-web list: ``[{"name", "company", "category", "domains"}, …]``.

    The company is the organisation, the entity's own name where it has none. As in that list's own code, a registrable
    domain all of whose entries belong to one organisation belongs to that organisation altogether.

    Raises:
        BadInput: the file is not readable, not JSON, or not of that shape.
    """
    content = _json(path)
    if not isinstance(content, list):
        raise BadInput(str(path), "top level", "a list of entities")
    domains: dict[str, Owned] = {}
    claimed: dict[str, set[str]] = {}
    for number, entity in enumerate(content):
        try:
            organisation = str(entity.get("company") or entity["name"])
            purpose = _PURPOSES.get(entity["category"])
            patterns = [str(pattern) for pattern in entity["domains"]]
            reason = f"category {entity['category']}"
        except (AttributeError, KeyError, TypeError):
            raise BadInput(str(path), f"entity {number}", "name, category and domains") from None
        for pattern in patterns:
            domain = normal_host(pattern.removeprefix("*."))
            domains.setdefault(domain, Owned(organisation, purpose, source, date, reason))
            claimed.setdefault(registrable_domain(domain), set()).add(organisation)
    for site, organisations in claimed.items():
        if len(organisations) == 1:
            domains.setdefault(site, Owned(min(organisations), None, source, date, None))
    return OwnershipList(domains)


@cache
def speaker_hosts() -> tuple[OwnershipList, dict[str, str]]:
    """Our own list of speaker hosts, and its aliases (case-folded other name → organisation)."""
    text = files("earwitness.parties").joinpath("speaker_hosts.yaml").read_text("utf-8")
    content: dict[str, Any] = yaml.safe_load(text)
    sources = content["sources"]
    domains = {}
    for entry in [*content["domains"], *content["hosts"]]:
        source = sources[entry["source"]]
        domains[entry.get("host") or entry["domain"]] = Owned(
            entry["organisation"],
            entry.get("purpose"),
            source["name"],
            source["date"],
            f"labelled by {entry['labelled_by']}" if "labelled_by" in entry else entry["because"],
        )
    aliases = {other.casefold(): name for name, others in content["aliases"].items() for other in others}
    return OwnershipList(domains), aliases


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise BadInput(str(path), "file", f"a readable file ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise BadInput(str(path), f"byte {error.start}", "text in UTF-8") from None
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column {error.colno}"
        raise BadInput(str(path), place, f"JSON ({error.msg})") from None
    except RecursionError:
        raise BadInput(str(path), "nesting", "JSON of ordinary depth") from None
