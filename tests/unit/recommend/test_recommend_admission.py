from contextlib import ExitStack

import pytest

from kinoscore.errors import QueueFull, Unavailable
from kinoscore.recommend.admission import Admission, caller_of


@pytest.mark.parametrize(
    ("peer", "caller"),
    [
        ("ipv4:10.0.0.1:54321", "ipv4:10.0.0.1"),
        ("ipv6:%5B2001:db8::1%5D:54321", "ipv6:%5B2001:db8::1%5D"),
        ("ipv6:[::1]:1", "ipv6:[::1]"),
        ("unix:/run/kinoscore.socket", "unix:/run/kinoscore.socket"),
        ("", ""),
    ],
)
def test_a_caller_is_an_address_whatever_the_port(peer: str, caller: str) -> None:
    assert caller_of(peer) == caller


def test_each_caller_has_a_limit_and_all_together_another() -> None:
    admission = Admission(3, 2)
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(admission.admitted("a"))
        with pytest.raises(QueueFull, match="this caller has 2") as refusal, admission.admitted("a"):
            pass
        assert refusal.value.metadata == {"limit": "2", "retry_seconds": "5"}
        stack.enter_context(admission.admitted("b"))
        with pytest.raises(QueueFull, match="3 live sessions are running"), admission.admitted("b"):
            pass
        assert admission.count == 3
    assert admission.count == 0
    with admission.admitted("a"), admission.admitted("a"):
        pass


def test_without_a_limit_per_caller_one_may_have_all() -> None:
    admission = Admission(20, 0)
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(admission.admitted("a"))


def test_one_that_is_draining_admits_none_and_tells_the_others() -> None:
    admission = Admission(3, 2)
    with admission.admitted("a") as wake:
        admission.drain()
        assert wake.is_draining
        assert wake.event.is_set()
        with pytest.raises(Unavailable), admission.admitted("b"):
            pass
