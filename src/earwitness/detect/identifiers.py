"""Identifiers: values by which a party can recognise a profile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa

from earwitness.detect.consent import consent_values, is_consent_string, names_consent
from earwitness.detect.entropy import singles_out
from earwitness.detect.occurrence import ValueIndex
from earwitness.detect.timestamps import without_times
from earwitness.model.identity import row_id
from earwitness.model.tables import TABLES
from earwitness.parties import registrable_domain

# What replaces a secret before it is stored; such a value is never an identifier that was seen to travel.
_REPLACED = "token:"
_MIN_VISITS = 2
_MIN_PROFILES = 2

# Parts of a composite value: runs without delimiters. Base64 keeps its own signs, padding included.
_PART = re.compile(r"[A-Za-z0-9_+/-]+(?:={1,2}(?![A-Za-z0-9_+/-]))?")
_MIN_BASE64 = 16


class _Kept(NamedTuple):
    """One sight of a cookie or storage entry in one visit."""

    profile: str
    visit: str
    at: datetime
    host: str
    declared: bool  # whether `host` is the cookie's own domain, or only a host that it was sent to
    name: str
    value: str
    evidence: str | None
    locator: str | None


@dataclass
class _Group:
    """All sights of one value (or part) under one name of one site in one profile."""

    visits: set[str] = field(default_factory=set)
    sights: list[_Kept] = field(default_factory=list)


def identifiers(cookies: pa.Table, visits: pa.Table, profiles: pa.Table, requests: pa.Table) -> pa.Table:
    """Stored and account identifiers of every profile, as the table `identifiers`, sorted.

    *Stored*: a value, or a delimited part of one, kept in a cookie or storage of one site, seen (set, or sent again) in
    at least two visits of a profile, and in nothing that any other profile stored, sent or was sent. With fewer than
    two visited profiles "different between profiles" cannot be shown, and nothing is a stored identifier.
    The value must be at least 8 characters and 28 random bits long *beside* every time in it (`entropy`, `timestamps`).
    Consent strings (by name, by build, or by the parameter they travel in) and replaced secrets (``token:…``) do not
    count. A whole composite value counts only where none of its parts does.

    *Account*: the login mail of a profile as the study knows it, as given and normalised (trimmed, lower case), each
    unless another profile has it too. Its `owner_host` is null.

    `owner_host` is the domain of the cookie or entry; of a cookie that was only seen being sent, the longest domain
    common to the hosts that got it. `first_seen` is the first sight; evidence and locator are that row's.

    Args:
        cookies: table `cookies`.
        visits: table `visits`.
        profiles: table `profiles`.
        requests: table `requests`, all hops of all visits.
    """
    profile_of = dict(zip(visits["visit"].to_pylist(), visits["profile"].to_pylist(), strict=True))
    rows = [*_stored(cookies, requests, profile_of), *_accounts(profiles)]
    rows.sort(key=lambda row: (row["profile"], row["kind"], row["owner_host"] or "", row["value"]))
    return TABLES["identifiers"].arrow(rows)


def _stored(cookies: pa.Table, requests: pa.Table, profile_of: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    if len(set(profile_of.values())) < _MIN_PROFILES:
        return
    cookie_rows, request_rows = cookies.to_pylist(), requests.to_pylist()
    groups: dict[tuple[str, str, str], _Group] = {}
    for whole in _by_value(_sights(cookie_rows, request_rows, profile_of)):
        first = min(sight.at for sight in whole)
        for part in _candidates(whole[0].name, whole[0].value, first):
            group = groups.setdefault((whole[0].profile, registrable_domain(whole[0].host), part), _Group())
            group.sights += whole
            group.visits |= {sight.visit for sight in whole}
    stable = {key: group for key, group in groups.items() if len(group.visits) >= _MIN_VISITS}
    shared = _not_of_one_profile(stable, cookie_rows, request_rows, profile_of)
    for (profile, site, value), group in stable.items():
        if value not in shared:
            first_sight = min(group.sights, key=lambda s: (s.at, s.host, s.name, s.locator or ""))
            yield _row(profile, "stored", _owner_host(site, group.sights), value, first_sight)


def _row(profile: str, kind: str, owner_host: str | None, value: str, sight: _Kept | None) -> dict[str, Any]:
    return {
        "identifier": row_id("identifier", profile, kind, owner_host, value),
        "profile": profile,
        "kind": kind,
        "owner_host": owner_host,
        "value": value,
        "first_seen": sight.at if sight else None,
        "evidence": sight.evidence if sight else None,
        "locator": sight.locator if sight else None,
    }


def _sights(
    cookies: Iterable[Mapping[str, Any]], requests: Iterable[Mapping[str, Any]], profile_of: Mapping[str, str]
) -> Iterator[_Kept]:
    """Every sight of a stored value: set (cookies) or sent again (the Cookie header of requests)."""
    for row in cookies:
        profile = profile_of.get(row["visit"])
        if profile is None or not row["value"] or not row["host"]:
            continue
        host = row["host"].lstrip(".").lower()
        name = row["name"] or ""
        yield _Kept(profile, row["visit"], row["at"], host, True, name, row["value"], row["evidence"], row["locator"])
    for row in requests:
        profile = profile_of.get(row["visit"])
        if profile is None or not row["cookies_sent"] or not row["host"]:
            continue
        receiver = row["host"].lower()
        for pair in row["cookies_sent"].split(";"):
            name, _, value = pair.strip().partition("=")
            if not value:
                continue
            yield _Kept(profile, row["visit"], row["at"], receiver, False, name, value, row["evidence"], row["locator"])


def _by_value(sights: Iterable[_Kept]) -> Iterable[list[_Kept]]:
    """Sights of the same value under the same name of the same site in the same profile, together."""
    grouped: dict[tuple[str, str, str, str], list[_Kept]] = {}
    for sight in sights:
        key = (sight.profile, registrable_domain(sight.host), sight.name, sight.value)
        grouped.setdefault(key, []).append(sight)
    return grouped.values()


def _candidates(name: str, value: str, seen_at: datetime) -> list[str]:
    """The parts of a stored value that could single a profile out; the whole value where no part could."""
    if value.startswith(_REPLACED) or names_consent(name):
        return []
    whole = unquote(value)
    if is_consent_string(whole):
        return []
    random = [part for part in _parts(whole) if singles_out(without_times(part, seen_at))]
    random = [part for part in random if not is_consent_string(part)]
    if random:
        return sorted(set(random))
    return [whole] if singles_out(without_times(whole, seen_at)) else []


def _parts(value: str) -> Iterator[str]:
    for part in _PART.findall(value):
        if part.endswith("=") and len(part) % 4:
            part = part.rstrip("=")
        if ("/" in part or "+" in part) and not _is_base64(part):
            yield from re.split(r"[/+]", part)
        else:
            yield part


def _is_base64(part: str) -> bool:
    if part.startswith("/") or "//" in part or len(part) < _MIN_BASE64:
        return False
    mixed = any(c.isupper() for c in part) and any(c.islower() for c in part) and any(c.isdigit() for c in part)
    return part.endswith("=") or (mixed and len(part) % 4 == 0)


def _not_of_one_profile(
    stable: Iterable[tuple[str, str, str]],
    cookies: Iterable[Mapping[str, Any]],
    requests: Iterable[Mapping[str, Any]],
    profile_of: Mapping[str, str],
) -> set[str]:
    """Candidate values that occur in anything of a second profile, or travel as consent strings."""
    holders: dict[str, set[str]] = {}
    for profile, _, value in stable:
        holders.setdefault(value, set()).add(profile)
    index = ValueIndex(holders)
    spoilt = {value for value, profiles in holders.items() if len(profiles) > 1}
    for profile, text in _texts(cookies, requests, profile_of):
        spoilt |= {value for value in index.find_decoded(text) if profile not in holders[value]}
        for consent in consent_values(text):
            spoilt |= index.find(consent)
    return spoilt


def _texts(
    cookies: Iterable[Mapping[str, Any]], requests: Iterable[Mapping[str, Any]], profile_of: Mapping[str, str]
) -> set[tuple[str, str]]:
    """Every distinct text in which a profile's values can occur, with the profile."""
    found: set[tuple[str, str]] = set()
    for row in cookies:
        if (profile := profile_of.get(row["visit"])) is not None:
            found.add((profile, row["value"] or ""))
    for row in requests:
        if (profile := profile_of.get(row["visit"])) is not None:
            for column in ("url", "body", "location", "referer", "cookies_sent"):
                found.add((profile, row[column] or ""))
            found |= {(profile, line) for line in row["cookies_set"] or ()}
    return found


def _owner_host(site: str, sights: Iterable[_Kept]) -> str:
    declared = {sight.host for sight in sights if sight.declared}
    if declared:
        return min(declared, key=lambda host: (len(host), host))
    labels = [host.split(".")[::-1] for host in sorted({sight.host for sight in sights})]
    common = []
    for level in zip(*labels, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    host = ".".join(reversed(common))
    return host if len(host) >= len(site) else site


def _accounts(profiles: pa.Table) -> Iterator[dict[str, Any]]:
    users: dict[str, set[str]] = {}
    for row in profiles.to_pylist():
        account = row["account"] or ""
        if "@" in account or singles_out(account):
            for form in (account, account.strip().lower()):
                users.setdefault(form, set()).add(row["profile"])
    for form, owners in users.items():
        if len(owners) == 1:
            yield _row(min(owners), "account", None, form, None)
