import json
import re

import pytest

from earwitness.lab import catalogue, describe
from earwitness.lab.world_file import load_world
from earwitness.model.errors import BadStudy


def test_the_ownership_list_is_right_about_most_wrong_about_one_and_half_useless() -> None:
    for seed in range(20):
        world = load_world("tiny", seed)
        entities = json.loads(catalogue("tiny", seed).ownership_list)
        assert all(list(entry) == ["properties"] for entry in entities.values())
        listed = {domain: name for name, entry in entities.items() for domain in entry["properties"]}
        owned = {domain: each for each in world.organisations.values() for domain in each.domains}
        decoys = listed.keys() - owned.keys()
        assert len(decoys) == len(entities) / 2
        missing = {each.key for domain, each in owned.items() if domain not in listed}
        wrong = {each.key for domain, each in owned.items() if listed.get(domain, each.name) != each.name}
        assert len(missing) == 2 and len(wrong) == 1
        assert not any(world.organisations[key].real for key in missing | wrong)
        assert listed["amazon.com"] == listed["amazon-adsystem.com"] == "Amazon"
        assert listed["casalemedia.com"] == listed["indexww.com"] == "Index Exchange"


def test_the_filter_list_covers_most_trackers_and_as_many_that_never_occur() -> None:
    for seed in range(20):
        world = load_world("tiny", seed)
        rules = catalogue("tiny", seed).filter_list.splitlines()
        assert rules[0] == "[Adblock Plus 2.0]"
        domains = [re.fullmatch(r"\|\|([a-z0-9.-]+)\^\$third-party", rule)[1] for rule in rules[2:]]  # type: ignore[index]
        real = {domain for domain in domains if any(host.endswith(domain) for host in world.hosts)}
        assert len(real) == len(domains) / 2
        assert {"openx.net", "casalemedia.com", "amazon-adsystem.com", "podtrac.com"} <= real
        assert "amazon.com" not in real
        fictional = {end.organisation for end in world.endpoints.values() if end.host.endswith(".example")}
        covered = {world.owner_of(domain) for domain in real}
        assert len(fictional - covered) <= 1


def test_the_catalogue_says_nothing_of_roles() -> None:
    world = load_world("tiny", 3)
    public = repr(catalogue("tiny", 3))
    for host in {end.host for end in world.endpoints.values()} - {"web.ads.aps.amazon-adsystem.com"}:
        assert host not in public
    assert str(world.uplift["Pets & Animals"]) not in public
    assert not any(send.name in describe("tiny", 3) for send in world.sends.values())


def test_the_catalogue_has_what_a_study_needs() -> None:
    found = catalogue("tiny", 3)
    assert found.platform.organisation == "Amazon"
    assert found.platform.sign_in == "https://api.amazon.com/ap/signin"
    assert [(each.role, each.replicates, len(each.skills)) for each in found.personas] == [
        ("interest", 3, 4),
        ("control", 6, 0),
    ]
    assert {each.skill for each in found.skills} == set(found.personas[0].skills)
    assert all(len(each.utterances) == 2 for each in found.skills)
    assert (len(found.sites), found.sites_before, found.sites_after, found.iterations) == (3, 1, 3, 1)
    assert describe("tiny", 3)["profiles"] == 9
    with pytest.raises(BadStudy):
        describe("imaginary", 3)
