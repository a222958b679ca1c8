"""Compare a study with the lab's sealed truth: per question, precision, recall, intervals and the misses by name.

Truth belongs to the completed visit in whose window it happened for that profile; what happened outside every window
(sign-in, attempts that were repeated) is not counted. Each question says in its own function how it matches. A
question is in the answer when the study made the observations that it needs, also where nothing came of them.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from earwitness.lab.score_owners import ownership, published_organisation
from earwitness.lab.score_sharing import (
    MintedCookie,
    between_organisations,
    downstream,
    measured_edges,
    measured_identifiers,
    partners,
    rolled_up,
    true_edges,
    true_identifiers,
)
from earwitness.lab.score_tally import Tally, rows_of, tally_set
from earwitness.lab.score_web import Visits, bids, cookies, creatives, hops
from earwitness.lab.truth import JOURNAL, TRUTH_TABLES, seal
from earwitness.model.errors import BadInput

_MEASURED = (
    "visits", "requests", "cookies", "bids", "identifiers", "syncs", "interactions", "contacts", "hosts",
    "creatives",
)  # fmt: skip


def score(bundle_dir: str | Path, truth_dir: str | Path) -> dict[str, Any]:
    """The answer of `earwitness score --json`: world, seed, and the questions that the study ran.

    `bundle_dir` is a study, `truth_dir` the folder in which the lab kept what it did meanwhile. Organisations are those
    of the published list that the study loaded (`lists/ownership.json` in the study); without one the
    registrable domain stands for each.

    Raises:
        BadStudy: there is no study in `bundle_dir`.
        BadInput: there is no sealed truth in `truth_dir`, or a file there is not what it should be.
    """
    from earwitness.lab.world_file import load_world
    from earwitness.store import Bundle  # brings duckdb, which only the score needs

    world_name, seed = _world_of(Path(truth_dir))
    with Bundle.open(bundle_dir) as bundle:
        measured = {name: bundle.table(name) for name in _MEASURED}
        published = bundle.directory / "lists" / "ownership.json"
        ownership_list = published.read_text("utf-8") if published.is_file() else "{}"
    world = load_world(world_name, seed)
    owned = (one.cookie for one in world.organisations.values())
    minted = {(cookie.domain, cookie.name) for cookie in owned if cookie}
    platform_host = world.platform.voice_service
    truth = read_truth(Path(truth_dir))
    answers = questions(measured, truth, ownership_list, minted, platform_host)
    return {
        "world": world_name,
        "seed": seed,
        "questions": {name: tally.answer() for name, tally in answers.items()},
    }


def questions(
    measured: Mapping[str, pa.Table],
    truth: Mapping[str, pa.Table],
    ownership_list: str,
    minted: Collection[MintedCookie],
    platform_host: str,
) -> dict[str, Tally]:
    """Each question's tally, from tables alone.

    `measured` holds the study's tables, `truth` those of `TRUTH_TABLES`, by name. `minted` lists the cookies by which
    organisations of the world know a browser; `platform_host` is any host of the platform.

    Raises:
        BadInput: `ownership_list` is not in DuckDuckGo's entity format.
    """
    visits = Visits(measured["visits"])
    requests = truth["truth_requests"]
    answers: dict[str, Tally] = {}
    if measured["interactions"].num_rows:
        answers["speaker_hosts"] = speaker_hosts(measured["contacts"], truth["truth_speaker"], measured["interactions"])
    if visits.profile_of:
        answers["hops"] = hops(measured["requests"], requests, visits)
        answers["cookies"] = cookies(measured["cookies"], requests, visits)
        answers["bids"] = bids(measured["bids"], truth["truth_bids"], visits)
        answers |= _sharing(measured, truth, visits, ownership_list, minted, platform_host)
    if measured["creatives"].num_rows:
        answers["creatives"] = creatives(measured["creatives"], truth["truth_creatives"], visits)
    if measured["hosts"].num_rows:
        answers["ownership"] = ownership(measured["hosts"], truth["truth_owners"])
    return answers


def _sharing(
    measured: Mapping[str, pa.Table],
    truth: Mapping[str, pa.Table],
    visits: Visits,
    ownership_list: str,
    minted: Collection[MintedCookie],
    platform_host: str,
) -> dict[str, Tally]:
    """Identifiers, and syncs under the published list, on both sides by the score's own roll-up."""
    organisation = published_organisation(ownership_list)
    owners: dict[str, str] = dict(rows_of(truth["truth_owners"], "host", "organisation"))
    # A list that does not know all of the platform's domains breaks it into several names.
    platform = {organisation(platform_host)} | {
        organisation(host) for host, owner in owners.items() if owner == owners.get(platform_host)
    }
    findable, true_owned = true_identifiers(truth["truth_requests"], truth["truth_syncs"], visits, minted)
    claimed = measured_identifiers(measured["identifiers"])
    true = between_organisations(true_edges(truth["truth_syncs"], visits), organisation)
    found = between_organisations(measured_edges(measured["syncs"], measured["identifiers"]), organisation)
    true_partners = partners(true, true_owned, platform, organisation)
    found_partners = partners(found, claimed, platform, organisation)
    return {
        "identifiers": tally_set(("profile", "owner_site", "value"), findable, claimed),
        "syncs_host": tally_set(
            ("profile", "sender_host", "receiver_host", "identifier"),
            {(edge.profile, edge.sender, edge.receiver, edge.identifier) for edge in true},
            {(edge.profile, edge.sender, edge.receiver, edge.identifier) for edge in found},
        ),
        "syncs_org": tally_set(("sender", "receiver"), rolled_up(true, organisation), rolled_up(found, organisation)),
        "partners": tally_set(("organisation",), true_partners, found_partners),
        "downstream": tally_set(
            ("organisation",),
            downstream(true, true_partners, platform, organisation),
            downstream(found, found_partners, platform, organisation),
        ),
    }


def speaker_hosts(contacts: pa.Table, truth_speaker: pa.Table, interactions: pa.Table) -> Tally:
    """Hosts that a speaker talked to, by (profile, skill, host); skill null is the device's own traffic.

    Counted are the skills that a profile completed an interaction with, and the own traffic of the profiles that
    completed any: what an interrupted attempt set off belongs to neither.
    """
    done = set(rows_of(interactions, "profile", "skill"))
    done |= {(profile, None) for profile, _ in done}
    truth = {
        (profile, skill, host)
        for profile, skill, host in rows_of(truth_speaker, "profile", "skill", "host")
        if (profile, skill) in done
    }
    claimed = set(rows_of(contacts, "profile", "skill", "host"))
    return tally_set(("profile", "skill", "host"), truth, claimed)


def read_truth(truth_dir: Path) -> dict[str, pa.Table]:
    """The truth tables of a lab run, sealed anew where the lab wrote on after the last sealing.

    Raises:
        BadInput: a table's file is not Parquet, or has other columns than its declaration.
    """
    import pyarrow.parquet as pq

    _seal_if_stale(truth_dir)
    tables = {}
    for name, schema in TRUTH_TABLES.items():
        path = truth_dir / f"{name}.parquet"
        try:
            tables[name] = pq.read_table(path).select(schema.names).cast(schema)
        except (pa.ArrowException, KeyError, OSError):
            raise BadInput(str(path), "start", f"the Parquet table {name}") from None
    return tables


def _seal_if_stale(truth_dir: Path) -> None:
    journal = truth_dir / JOURNAL
    sealed = [truth_dir / f"{name}.parquet" for name in TRUTH_TABLES]
    if journal.is_file() and not all(
        path.is_file() and path.stat().st_mtime_ns >= journal.stat().st_mtime_ns for path in sealed
    ):
        seal(truth_dir)


def _world_of(truth_dir: Path) -> tuple[str, int]:
    path = truth_dir / "world.json"
    try:
        facts = json.loads(path.read_text("utf-8"))
        return str(facts["world"]), int(facts["seed"])
    except (OSError, ValueError, KeyError, TypeError):
        expected = "world and seed of a lab run (choose the folder with --truth PATH)"
        raise BadInput(str(path), "start", expected) from None
