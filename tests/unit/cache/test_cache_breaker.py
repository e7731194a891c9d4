import pytest

from kinoscore.cache.breaker import Breaker

REST = 1.0


@pytest.fixture
def now() -> list[float]:
    return [100.0]


@pytest.fixture
def breaker(now: list[float]) -> Breaker:
    return Breaker(REST, clock=lambda: now[0])


def admitted(breaker: Breaker) -> int:
    period = breaker.admit()
    assert period is not None
    return period


def opened(breaker: Breaker) -> None:
    assert breaker.failed(admitted(breaker))


def test_a_closed_breaker_lets_every_call_go(breaker: Breaker) -> None:
    periods = [admitted(breaker) for _ in range(3)]
    assert not any(breaker.succeeded(period) for period in periods)
    assert breaker.admit() is not None


def test_the_first_failure_lets_no_call_go_until_the_rest_is_over(breaker: Breaker, now: list[float]) -> None:
    opened(breaker)
    now[0] += REST - 0.01
    assert breaker.admit() is None
    now[0] += 0.02
    assert breaker.admit() is not None


def test_one_probe_goes_at_a_time_and_its_success_lets_all_go(breaker: Breaker, now: list[float]) -> None:
    opened(breaker)
    now[0] += REST
    probe = admitted(breaker)
    assert breaker.admit() is None
    assert breaker.succeeded(probe)
    assert admitted(breaker) == admitted(breaker)


def test_a_probe_that_fails_begins_another_rest_and_is_not_told_as_news(
    breaker: Breaker, now: list[float]
) -> None:
    opened(breaker)
    now[0] += REST
    assert not breaker.failed(admitted(breaker))
    assert breaker.admit() is None
    now[0] += REST
    assert breaker.succeeded(admitted(breaker))


def test_a_probe_whose_caller_left_makes_room_for_the_next(breaker: Breaker, now: list[float]) -> None:
    opened(breaker)
    now[0] += REST
    breaker.abandoned(admitted(breaker))
    probe = admitted(breaker)
    assert breaker.admit() is None
    assert breaker.succeeded(probe)


@pytest.mark.parametrize("outcome", ["succeeded", "failed", "abandoned"])
def test_what_a_call_of_an_earlier_period_met_changes_nothing(
    breaker: Breaker, now: list[float], outcome: str
) -> None:
    early, late = admitted(breaker), admitted(breaker)
    assert breaker.failed(early)
    now[0] += REST
    probe = admitted(breaker)
    assert not getattr(breaker, outcome)(late)
    assert breaker.admit() is None
    assert breaker.succeeded(probe)
    assert not getattr(breaker, outcome)(late)
    assert breaker.admit() is not None
