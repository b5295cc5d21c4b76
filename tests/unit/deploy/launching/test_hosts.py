"""Where servers listen, what that needs, and the small counts of starts."""

import dataclasses
import socket
from contextlib import suppress

import pytest

from deploy.checks.preflight import PreflightError, addresses, addresses_text
from efficientzero.config.fields import ClusterConfig, Config
from efficientzero.config.files import ConfigError, config_hash
from efficientzero.config.validation import validate
from efficientzero.process.free_ports import bind_free_port
from efficientzero.rpc.credentials import CREDENTIALS_VARIABLE, CredentialsError, check_bind
from efficientzero.runs.start_counts import count_start
from replay.service.address import PublicAddress, check_private, reached_at
from tests.support.cases.replay_cases import IMAGES
from tests.support.fakes import tiny_run

FIXED = {"replay_port": 7401, "learner_port": 7400}
ADDRESSES = """Main:
  +-- 0.0.0.0/0 3 0 4
     |-- 0.0.0.0
        /0 universe UNICAST
           |-- 127.0.0.1
              /32 host LOCAL
           |-- {address}
              /32 host LOCAL
        |-- 203.0.113.255
           /32 link BROADCAST
"""


def check(**cluster):
    validate(Config(cluster=ClusterConfig(**cluster)), IMAGES)


def test_loopback_needs_nothing_and_other_addresses_fixed_ports():
    check()
    check(bind_host="0.0.0.0", **FIXED)
    check(bind_host="10.0.0.5", replay_host="replay.run-1.svc", **FIXED)
    for missing in FIXED:
        with pytest.raises(ConfigError, match=f"cluster.{missing}: got 0, wanted a fixed port"):
            check(bind_host="10.0.0.5", **{**FIXED, missing: 0})


@pytest.mark.parametrize("host", ["", "learner", "::", "10.0.0", "10.0.0.5:7400"])
def test_bind_host_is_an_ipv4_address(host):
    with pytest.raises(ConfigError, match=r"cluster.bind_host: got .* wanted an IPv4 address"):
        check(bind_host=host, **FIXED)


@pytest.mark.parametrize("host", ["replay:7401", "a b", "http://replay"])
def test_replay_host_is_a_name(host):
    with pytest.raises(ConfigError, match=r"cluster\.replay_host: got"):
        check(replay_host=host)


def test_binding_beyond_loopback_needs_credentials(monkeypatch):
    monkeypatch.delenv(CREDENTIALS_VARIABLE, raising=False)
    check_bind("127.0.0.1")
    for host in ("0.0.0.0", "10.0.0.5"):
        with pytest.raises(CredentialsError, match="no credentials; wanted --credentials DIR"):
            check_bind(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "192.168.0.9", "172.17.0.2"])
def test_replay_may_listen_in_private_networks(host):
    check_private(host)


def test_replay_may_not_listen_where_the_internet_is(tmp_path):
    with pytest.raises(PublicAddress, match=r"got 8\.8\.8\.8"):
        check_private("8.8.8.8")
    table = tmp_path / "fib_trie"
    table.write_text(ADDRESSES.format(address="10.0.0.5"))
    check_private("0.0.0.0", own=table)
    table.write_text(ADDRESSES.format(address="93.184.216.34"))
    with pytest.raises(PublicAddress, match=r"got 0\.0\.0\.0, which is 93\.184\.216\.34"):
        check_private("0.0.0.0", own=table)


def networks(text):
    return ClusterConfig(replay_network=text).replay_networks


def test_replay_listens_in_the_networks_that_the_user_names(tmp_path):
    check_private("127.0.0.1", networks("10.0.0.0/8"))
    check_private("10.1.2.3", networks("10.0.0.0/8"))
    check_private("10.1.2.3", networks("192.168.0.0/16,10.1.2.3/32"))
    # A private address that the internet may be forwarded to.
    with pytest.raises(PublicAddress, match=r"got 192\.168\.0\.9, wanted .*network \(10\.0\."):
        check_private("192.168.0.9", networks("10.0.0.0/8"))
    table = tmp_path / "fib_trie"
    table.write_text(ADDRESSES.format(address="172.17.0.2"))
    check_private("0.0.0.0", networks("172.16.0.0/12"), own=table)
    with pytest.raises(PublicAddress, match=r"got 0\.0\.0\.0, here 172\.17\.0\.2 too, wanted"):
        check_private("0.0.0.0", networks("10.0.0.0/8"), own=table)


def test_a_public_network_must_be_named_and_behind_the_relay():
    for named, is_relayed in (("", True), ("", False), ("8.8.8.0/24", False), ("0.0.0.0/0", False)):
        with pytest.raises(PublicAddress, match=r"got 8\.8\.8\.8"):
            check_private("8.8.8.8", networks(named), is_relayed=is_relayed)
    check_private("8.8.8.8", networks("8.8.8.0/24"), is_relayed=True)


@pytest.mark.parametrize("given", ["10.0.0.5/8", "private", "10.0.0.0/8;10.0.0.0/9", "::/0"])
def test_networks_that_are_none_are_refused(given):
    with pytest.raises(ConfigError, match=r"cluster\.replay_network: got .*, wanted networks"):
        check(replay_network=given)


def test_an_address_outside_is_refused_before_anything_starts(monkeypatch):
    monkeypatch.setattr("deploy.checks.preflight.check_bind", lambda host: None)
    cluster = ClusterConfig(bind_host="10.0.0.5", replay_network="192.168.0.0/16", **FIXED)
    with pytest.raises(PreflightError, match=r"bind_host: got 10\.0\.0\.5, .*192\.168\.0\.0/16"):
        addresses(Config(cluster=cluster))


@pytest.mark.parametrize(
    ("cluster", "message"),
    [
        ({"replay_host": "a,b"}, r"replay_host: got 'a,b', wanted a host name"),
        ({"replay_port": 65_536}, r"replay_port: got 65536, wanted less than 65536"),
        ({"replay_port": 7_400, "learner_port": 7_400}, r"learner_port: got 7400, wanted another"),
    ],
)
def test_addresses_that_cannot_be_are_refused(cluster, message):
    with pytest.raises(ConfigError, match=message):
        check(**cluster)


def two_free_ports():
    """Return a port that is free, as is the next one."""
    while True:
        with socket.socket() as one, socket.socket() as other, suppress(OSError, OverflowError):
            port = bind_free_port(one, "127.0.0.1")
            other.bind(("127.0.0.1", port + 1))
            return port


@pytest.mark.parametrize(
    ("given", "wanted", "listens_at", "relay_port"),
    [
        # On one host with the learner: here without the relay, which is for the others.
        ({}, "127.0.0.1:{free}", "127.0.0.1:{free}", "given"),
        ({"replay_host": "replay"}, "tls://replay:{given}", "127.0.0.1:0", "given"),
        ({"replay_tls": False}, "127.0.0.1:{given}", "0.0.0.0:{given}", None),
        ({"bind_host": "127.0.0.1"}, "127.0.0.1:{given}", "127.0.0.1:{given}", None),
    ],
)
def test_beyond_loopback_replay_is_behind_its_relay(
    monkeypatch, tmp_path, given, wanted, listens_at, relay_port
):
    monkeypatch.setattr("deploy.checks.preflight.check_bind", lambda host: None)
    port = two_free_ports()
    ports = {"replay_port": port, "learner_port": port + 1}
    config = Config(cluster=ClusterConfig(**{"bind_host": "0.0.0.0", **ports, **given}))
    validate(config, IMAGES)
    address, learner = addresses(config)
    text = addresses_text(config.cluster, address, learner)
    assert (f"from other hosts tls://0.0.0.0:{port}" in text) == ("{free}" in wanted)
    names = {"given": port, "free": address.rpartition(":")[2]}
    assert address == wanted.format(**names)
    assert "{free}" not in wanted or names["free"] not in (str(port), str(port + 1))
    run = dataclasses.replace(tiny_run(tmp_path, config), replay_address=address)
    assert run.replay_listens_at == listens_at.format(**names)
    assert run.relay_port == (relay_port and port)
    assert config_hash(config) == config_hash(Config())


def test_all_addresses_are_reached_on_loopback():
    assert reached_at("0.0.0.0:7401") == "127.0.0.1:7401"
    assert reached_at("10.0.0.5:7401") == "10.0.0.5:7401"


def test_starts_are_counted_by_name_and_survive_the_counter(tmp_path):
    assert [count_start(tmp_path, "actor-0") for _ in range(3)] == [0, 1, 2]
    assert count_start(tmp_path, "actor-1") == 0
    assert sorted(path.name for path in (tmp_path / "starts").iterdir()) == ["actor-0", "actor-1"]


def test_where_servers_listen_does_not_change_the_experiment():
    config = Config()
    cluster = dataclasses.replace(config.cluster, bind_host="10.0.0.5", replay_host="r", **FIXED)
    assert config_hash(dataclasses.replace(config, cluster=cluster)) == config_hash(config)
