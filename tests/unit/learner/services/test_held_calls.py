"""Which calls have to end so that nobody can hold all threads of the learner's server."""

import pytest

from learner.services.call_refused import CallRefused
from learner.services.held_calls import CALL_S, MESSAGE_S, HeldCalls, host_of


class Calls:
    """Calls that are held, with a clock of their own; what gRPC knows of each is a recorder."""

    def __init__(self, *, most=100, most_of_a_host=4):
        self.now, self.open, self.ended = 1_000.0, {}, []
        self.held = HeldCalls(most=most, most_of_a_host=most_of_a_host, clock=lambda: self.now)

    def begin(self, name, peer, *, has_message=True):
        holding = self.held.hold(Context(peer, lambda: self.end(name)))
        call = holding.__enter__()
        call.has_message = has_message
        self.open[name] = holding

    def end(self, name):
        """As the thread of a call does that was cancelled."""
        self.ended.append(name)
        self.open.pop(name).__exit__(None, None, None)


class Context:
    def __init__(self, peer, cancel):
        self.peer, self.cancel = lambda: peer, cancel


def test_a_call_without_a_message_ends_after_a_while_and_one_with_it_after_longer():
    calls = Calls()
    calls.begin("silent", "ipv4:10.0.0.1:1", has_message=False)
    calls.begin("poll", "ipv4:10.0.0.1:2")
    calls.held.end_overdue()
    assert calls.ended == []
    calls.now += MESSAGE_S + 0.1
    calls.held.end_overdue()
    assert calls.ended == ["silent"]
    calls.now += CALL_S
    calls.held.end_overdue()
    assert calls.ended == ["silent", "poll"]


def test_late_messages_give_way_first():
    calls = Calls()
    calls.begin("poll", "ipv4:10.0.0.1:1")
    for number in range(3):
        calls.begin(number, f"ipv4:10.0.0.1:{number + 2}", has_message=False)
    calls.now += 2.0
    calls.begin("new", "ipv4:10.0.0.1:9")
    assert calls.ended == [0]


def test_a_connection_with_many_calls_gives_way_to_one_with_few():
    calls = Calls()
    calls.begin("worker", "ipv4:10.0.0.1:1")
    for number in range(3):
        calls.begin(number, "ipv4:10.0.0.1:7")
    calls.begin("another worker", "ipv4:10.0.0.1:2")
    assert calls.ended == [0]
    with pytest.raises(CallRefused, match=r"calls of 10\.0\.0\.1 at once"):
        calls.begin("greedy", "ipv4:10.0.0.1:7")
    assert sorted(map(str, calls.open)) == ["1", "2", "another worker", "worker"]


def test_a_host_has_its_share_and_others_have_theirs():
    calls = Calls()
    for number in range(4):
        calls.begin(number, f"ipv4:10.0.0.1:{number}")
    with pytest.raises(CallRefused) as refused:
        calls.begin("fifth", "ipv4:10.0.0.1:5")
    assert refused.value.code.name == "UNAVAILABLE", "a worker tries again"
    calls.begin("other host", "ipv4:10.0.0.2:1")
    assert calls.ended == []
    calls.open.pop(2).__exit__(None, None, None)
    calls.begin("fifth", "ipv4:10.0.0.1:5")


def test_with_all_threads_taken_the_host_with_most_calls_gives_way():
    calls = Calls(most=6, most_of_a_host=4)
    calls.begin("worker", "ipv4:10.0.0.3:1")
    for number in range(4):
        calls.begin(number, "ipv4:10.0.0.1:1")
    calls.begin("other", "ipv4:10.0.0.2:1")
    calls.begin("new", "ipv4:10.0.0.4:1")
    assert calls.ended == [0]


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.0.0.1:7400", "10.0.0.1"),
        ("ipv4:127.0.0.1:1", "loopback"),
        ("ipv4:127.9.9.9:1", "loopback"),
        ("ipv6:%5B::1%5D:1", "loopback"),
        ("ipv6:[::ffff:10.0.0.1]:1", "10.0.0.1"),
        ("ipv6:[::ffff:127.0.0.1]:1", "loopback"),
        ("ipv6:[2001:db8:1:2:3::4]:1", "2001:db8:1:2::/64"),
        ("ipv6:[fe80::1%25eth0]:1", "fe80::/64"),
        ("unix:/run/socket", "unix"),
        ("unix:", "unix"),
    ],
)
def test_callers_are_counted_by_who_can_have_the_address(peer, host):
    assert host_of(peer) == host
