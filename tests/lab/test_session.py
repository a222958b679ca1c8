import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from earwitness.lab import LabFailed, start
from earwitness.lab.world import World
from earwitness.model.network import Enrolled
from tests.lab.conftest import Running, browser, truth


def test_closing_stops_the_servers_seals_the_truth_and_may_be_done_twice(
    tmp_path: Path, world: World, enrolled: list[Enrolled]
) -> None:
    lab = start("tiny", 1, tmp_path / "truth", enrolled)
    process = lab._process
    lab.close()
    lab.close()
    assert process.returncode == 0
    assert (tmp_path / "truth/truth_syncs.parquet").exists()
    owners = truth(tmp_path / "truth", "truth_owners")
    assert {row["host"] for row in owners} == set(world.hosts)
    assert {"host": "js-sec.indexww.com", "organisation": "Index Exchange"} in owners
    with pytest.raises(LabFailed, match="closed"):
        lab.announce(enrolled[0].profile, "before", 1)


def test_each_profile_has_an_address_of_its_own_and_the_ports_are_the_same(running: Running) -> None:
    internet = running.lab.internet
    assert list(internet.gateways) == [f"profile-{number}" for number in range(1, 41)]
    assert len(set(internet.gateways.values())) == 40
    assert all(address.startswith("127.") for address in internet.gateways.values())
    assert len({internet.https_port, internet.http_port, internet.h2_port}) == 3
    assert internet.h2_hosts == {"avs-alexa-14-na.amazon.com"}
    assert "avs-alexa-14-na.amazon.com" in internet.hosts


def test_an_unknown_profile_is_refused_and_the_lab_goes_on(running: Running, person: Enrolled) -> None:
    with pytest.raises(LabFailed, match="nobody"):
        running.lab.announce("nobody", "before", 1)
    running.lab.announce(person.profile, "before", 1)


def test_a_truth_directory_belongs_to_one_world_and_seed(tmp_path: Path, enrolled: list[Enrolled]) -> None:
    (tmp_path / "world.json").write_text(json.dumps({"world": "tiny", "seed": 2}))
    with pytest.raises(LabFailed, match="seed 2"):
        start("tiny", 1, tmp_path, enrolled)


def test_servers_that_cannot_start_say_why(tmp_path: Path, enrolled: list[Enrolled]) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    (tmp_path / "ca.key").write_text("not a key")
    with pytest.raises(LabFailed, match=r"not running: ValueError.*lab\.log"):
        start("tiny", 1, tmp_path, enrolled)


async def test_a_killed_lab_is_noticed_its_truth_counts_and_it_knows_everything_when_started_again(
    tmp_path: Path, world: World, enrolled: list[Enrolled]
) -> None:
    directory, one, site = tmp_path / "truth", enrolled[0], next(iter(world.sites))
    lab = start("tiny", 1, directory, enrolled)
    lab.announce(one.profile, "before", 1)
    async with browser(lab, one.profile) as client:
        await client.sign_in(one)
        first = await client.bids(world, site, "openx")
        minted = client.cookie("i")
        await client.load("https://u.openx.net/w/1.0/pd")
    lab._process.send_signal(signal.SIGKILL)
    lab._process.wait()
    with pytest.raises(LabFailed, match=r"not running"):
        lab.announce(one.profile, "after", 1)
    lab.close()
    assert len(truth(directory, "truth_bids")) == 2

    with start("tiny", 1, directory, enrolled) as again:
        assert again.internet.ca_spki == lab.internet.ca_spki
        again.announce(one.profile, "before", 1)
        async with browser(again, one.profile) as client:
            assert await client.bids(world, site, "openx") == first
            assert client.cookie("i") == minted
            assert [row["reason"] for row in truth(directory, "truth_bids")][2:] == ["not matched"] * 2
            # With the cookie of the first session, the exchange is still known to the platform.
            await client.bids(world, site, "openx")
            assert [row["reason"] for row in truth(directory, "truth_bids")][4:] == ["matched, no interest"] * 2
    assert len(truth(directory, "truth_owners")) == len(world.hosts)


_PARENT = """
import json, sys, time
from pathlib import Path
from earwitness.lab import start
from earwitness.model.network import Enrolled
lab = start("tiny", 1, Path(sys.argv[1]), [Enrolled(**one) for one in json.loads(sys.argv[2])])
print(lab._process.pid, flush=True)
time.sleep(60)
"""


def test_the_servers_end_when_whoever_started_them_is_killed(tmp_path: Path, enrolled: list[Enrolled]) -> None:
    described = json.dumps([vars(one) for one in enrolled])
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, str(tmp_path), described], stdout=subprocess.PIPE)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    os.kill(child, 0)
    parent.kill()
    parent.wait()
    for _ in range(100):
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{child}/stat").read_text().split(") ")[1].startswith("Z"):
            return  # ended; this container's first process is slow to bury it
        time.sleep(0.05)
    pytest.fail("the lab outlived its parent")
