import ssl
from pathlib import Path

import pytest

from earwitness.lab.certificates import Authority


def _handshake(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> ssl.SSLObject:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = client.wrap_bio(to_client, to_server, server_hostname=name)
    there = server.wrap_bio(to_server, to_client, server_side=True)
    waiting = [here, there]
    for _ in range(10):
        for end in list(waiting):
            try:
                end.do_handshake()
                waiting.remove(end)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return here


def test_each_host_gets_a_certificate_that_the_authority_vouches_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.server_context(["a.example", "b.example"], "h2")
    client = ssl.create_default_context(cafile=authority.ca_file)
    client.set_alpn_protocols(["h2", "http/1.1"])
    connection = _handshake(server, client, "b.example")
    assert connection.getpeercert()["subjectAltName"] == (("DNS", "b.example"),)  # type: ignore[index]
    assert connection.selected_alpn_protocol() == "h2"


def test_a_host_that_does_not_exist_is_turned_away(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    server = authority.server_context(["a.example"], "http/1.1")
    client = ssl.create_default_context(cafile=authority.ca_file)
    with pytest.raises(ssl.SSLError):
        _handshake(server, client, "c.example")


def test_the_authority_is_kept_and_its_key_is_for_its_owner_only(tmp_path: Path) -> None:
    assert Authority(tmp_path).spki == Authority(tmp_path).spki
    assert (tmp_path / "ca.key").stat().st_mode & 0o077 == 0
