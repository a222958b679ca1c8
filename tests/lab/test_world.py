import ipaddress
import itertools
from collections import Counter
from dataclasses import replace

import pytest

from earwitness.lab.world import World
from earwitness.lab.world_file import load_world, worlds
from earwitness.model.errors import BadStudy


def test_a_world_is_made_from_its_name_and_seed_alone() -> None:
    assert worlds() == ["demo", "noisy", "null", "tiny"]
    assert load_world("tiny", 5) == load_world("tiny", 5)
    with pytest.raises(BadStudy, match="tiny"):
        load_world("imaginary", 1)


def test_another_seed_gives_every_fictional_party_another_name() -> None:
    names = [
        {domain for each in load_world("tiny", seed).organisations.values() for domain in each.domains if not each.real}
        for seed in range(30)
    ]
    assert all(len(each) == 21 for each in names)
    together = Counter(name for each in names for name in each)
    assert sum(count for count in together.values() if count > 1) < 0.1 * together.total()
    paths = [{end.path for end in load_world("tiny", seed).endpoints.values()} for seed in (1, 2)]
    assert paths[0] & paths[1] <= {"/w/1.0/pd", "/um/ixmatch.html", "/dcm"}


def test_names_do_not_tell_what_their_bearers_do() -> None:
    for name, seed in itertools.product(("tiny", "demo"), range(30)):
        world = load_world(name, seed)
        visible = [
            *(host for host in world.hosts if host.endswith(".example")),
            *(each.name.lower() for each in world.organisations.values() if not each.real),
        ]
        visible += [end.path for end in world.endpoints.values() if end.host.endswith(".example")]
        for word in ("track", "sync", "partner", "relay", "receiver", "ads.", "pixel", "match", "pet", "bid"):
            assert not [name for name in visible if word in name]


def test_no_two_parties_share_a_cookie_name_and_no_address_two_parameters() -> None:
    for name, seed in itertools.product(("tiny", "demo"), range(30)):
        world = load_world(name, seed)
        cookies = [each.cookie.name for each in world.organisations.values() if each.cookie]
        assert len(set(cookies)) == len(cookies)
        for target in world.endpoints:
            arriving = [send for send in world.sends.values() if send.target == target]
            parameters = [name for send in arriving for name in send.parameters.values()]
            assert len(set(parameters)) == len(parameters)
        where = [(end.host, end.path) for end in world.endpoints.values()]
        assert len(set(where)) == len(where)


def test_three_partners_tell_the_platform_and_four_others_are_reached_beyond_them(world: World) -> None:
    owner = {name: end.organisation for name, end in world.endpoints.items()}
    partners = {
        owner[send.source]
        for send in world.sends.values()
        if owner[send.target] == "amazon" and owner[send.source] in send.carries
    }
    assert len(partners) == 3
    edges = {
        (owner[send.source], owner[send.target])
        for send in world.sends.values()
        if send.carries and owner[send.source] != owner[send.target]
    }
    direct = {receiver for sender, receiver in edges if sender in partners} - partners - {"amazon"}
    further = {receiver for sender, receiver in edges if sender in direct} - partners - {"amazon"}
    assert len(direct | further) == 4
    assert further - direct
    assert {send.carried_as for send in world.sends.values()} == {"query", "path", "url"}
    silent = {each.key for each in world.organisations.values() if each.cookie} - {
        end for edge in edges for end in edge
    }
    assert silent == {"second_tracker", "ad_server"}


def test_every_host_has_an_owner_and_an_address_of_its_own(world: World) -> None:
    assert set(world.addresses) == set(world.hosts)
    assert len(set(world.addresses.values())) == len(world.addresses)
    shared = ipaddress.ip_network("100.64.0.0/10")
    assert all(ipaddress.ip_address(address) in shared for address in world.addresses.values())
    assert all(world.owner_of(host) == owner for host, owner in world.hosts.items())
    with pytest.raises(KeyError):
        world.owner_of("elsewhere.example")


def test_two_of_four_skills_stream_through_published_measurement_hosts(world: World) -> None:
    streams = [skill.stream for skill in world.skills.values() if skill.stream]
    assert len(world.skills) == 4 and len(streams) == 2
    assert {tuple(url.split("/")[2] for url in stream.urls) for stream in streams} == {
        ("dts.podtrac.com", "traffic.megaphone.fm", "dcs.megaphone.fm"),
        ("play.podtrac.com", "traffic.libsyn.com", "content.libsyn.com"),
    }
    assert all(any(each.plays for each in skill.utterances) == bool(skill.stream) for skill in world.skills.values())
    assert len({each.text for skill in world.skills.values() for each in skill.utterances}) == 8


def test_the_worlds_null_and_noisy_differ_from_demo_in_nothing_but_their_point() -> None:
    demo, null, noisy = (load_world(name, 4) for name in ("demo", "null", "noisy"))
    assert set(null.uplift.values()) == {1.0} and min(demo.uplift.values()) >= 3
    assert demo.prices.log_sd == {**noisy.prices.log_sd, "profile": 0.25} and noisy.prices.log_sd["profile"] == 0.7
    same = {"name": "", "description": ""}
    assert replace(null, **same, uplift=demo.uplift) == replace(demo, **same)
    assert replace(noisy, **same, prices=demo.prices) == replace(demo, **same)


def test_demo_has_the_size_that_a_finding_needs() -> None:
    demo = load_world("demo", 4)
    assert [(each.role, each.replicates, len(each.skills)) for each in demo.personas] == [
        ("interest", 3, 6),
        ("interest", 3, 6),
        ("control", 6, 0),
        ("placebo", 3, 0),
    ]
    assert set(demo.exchanges) == {"openx", "ix", "appnexus", "rubicon", "pubmatic"}
    assert len(demo.sites) == 6 and all(len(site.slots) >= 3 for site in demo.sites.values())
    streaming = [skill for skill in demo.skills.values() if skill.stream]
    assert len(streaming) >= 4 and all(len(skill.stream.urls) > 1 for skill in streaming if skill.stream)
    owner = {name: end.organisation for name, end in demo.endpoints.items()}
    to_platform = [send for send in demo.sends.values() if owner[send.target] == "amazon"]
    partners = {owner[send.source] for send in to_platform}
    # What is theirs is what a study can follow from them on.
    followed = [send for send in demo.sends.values() if partners & {*send.carries}]
    edges = {(owner[send.source], owner[send.target]) for send in followed}
    assert partners == {"openx", "index", "xandr", "magnite", "pubmatic", "first_tracker"}
    depth, reached = {}, partners
    for step in (1, 2, 3, 4):
        reached = {receiver for sender, receiver in edges if sender in reached} - partners - {"amazon"}
        depth |= {key: step for key in reached if key not in depth}
    assert len(depth) == 12 and set(depth.values()) == {1, 2, 3, 4}
    for seed in range(30):
        load_world("demo", seed)
