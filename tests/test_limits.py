from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from uuid import UUID

import pytest

from inngest_realtime_core import AuthenticationError, ConfigurationError, UnexpectedResponseError, UnreachableError
from inngest_realtime_core.endpoints import limits
from inngest_realtime_core.endpoints.errors import EndpointError
from inngest_realtime_core.endpoints.limits import CircuitBreaker, RateLimit, StreamSlots, TokenGate, client_name


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def code_of(refused: pytest.ExceptionInfo[EndpointError]) -> tuple[int, str, bool]:
    error = refused.value
    return error.status, error.code, error.retry_after is not None and error.retry_after > 0


def test_slots_of_all_and_of_each() -> None:
    slots = StreamSlots(3, 2)
    slots.acquire("ada")
    slots.acquire("ada")
    with pytest.raises(EndpointError) as refused:
        slots.acquire("ada")
    assert code_of(refused) == (429, "too_many_streams_per_client", True)
    slots.acquire(None)
    with pytest.raises(EndpointError) as refused:
        slots.acquire("bob")
    assert code_of(refused) == (503, "too_many_streams", True)
    slots.release("ada")
    slots.acquire("bob")
    for client in ("ada", "bob", None):
        slots.release(client)
    assert slots._by_client == {}  # pyright: ignore[reportPrivateUsage]


def test_a_client_gets_a_burst_and_then_so_many_a_second(clock: Clock) -> None:
    rate = RateLimit(20, 100)
    for _ in range(100):
        rate.spend("ada")
    with pytest.raises(EndpointError) as refused:
        rate.spend("ada")
    assert code_of(refused) == (429, "too_many_requests", True)
    rate.spend("bob")
    rate.spend(None)
    clock.now += 1.0
    for _ in range(20):
        rate.spend("ada")
    with pytest.raises(EndpointError):
        rate.spend("ada")


def test_clients_that_are_gone_take_no_memory(clock: Clock) -> None:
    rate = RateLimit(20, 100)
    for number in range(10_000):
        rate.spend(str(number))
        clock.now += 0.01
    assert len(rate._full_at) < 1_000  # pyright: ignore[reportPrivateUsage]


def test_token_requests_at_once() -> None:
    gate = TokenGate(2)
    with gate.entered(), gate.entered():
        with pytest.raises(EndpointError) as refused, gate.entered():
            pass
        assert code_of(refused) == (503, "too_many_token_requests", True)
    with gate.entered():
        pass


def test_threads_wait_for_their_turn_to_ask_for_a_token() -> None:
    gate = TokenGate(2, patience=30.0)
    together = threading.Barrier(5)

    def ask(_: int) -> None:
        together.wait(30)
        with gate.entered():
            pass

    with ThreadPoolExecutor(4) as threads:
        with gate.entered(), gate.entered():
            asking = [threads.submit(ask, number) for number in range(4)]
            together.wait(30)
            # Nobody has a turn yet: whoever does not wait for one is refused at once.
            refused, _ = wait(asking, timeout=0.2)
            assert not refused
        for each in asking:
            each.result(30)


def test_no_more_than_so_many_wait_and_no_longer() -> None:
    gate = TokenGate(1, patience=0.2)
    codes: list[str] = []

    def ask(_: int) -> None:
        try:
            with gate.entered():
                codes.append("asked")
        except EndpointError as error:
            codes.append(error.code)

    with gate.entered(), ThreadPoolExecutor(5) as threads:
        list(threads.map(ask, range(5)))
    assert codes == ["too_many_token_requests"] * 5
    ask(0)
    assert codes[-1] == "asked"


def test_who_comes_while_the_first_stalls_does_not_wait_as_well() -> None:
    """Threads that wait are threads that serve nobody."""
    gate = TokenGate(1, patience=0.2)

    def refused_after() -> float:
        began = time.monotonic()
        with pytest.raises(EndpointError), gate.entered():
            pass
        return time.monotonic() - began

    with gate.entered():
        refused_after()
        assert max(refused_after() for _ in range(5)) < 0.1
    with gate.entered():  # the next one has as long again
        assert refused_after() > 0.1


def test_an_inngest_that_fails_is_left_alone_for_a_while(clock: Clock) -> None:
    circuit = CircuitBreaker()
    for _ in range(3):
        circuit.check()
        circuit.failed()
    for _ in range(2):
        with pytest.raises(EndpointError) as refused:
            circuit.check()
        assert code_of(refused) == (503, "inngest_unreachable", True)
    clock.now += limits._PAUSE  # pyright: ignore[reportPrivateUsage]
    circuit.check()  # one is let through
    with pytest.raises(EndpointError):
        circuit.check()
    circuit.failed()
    clock.now += limits._PAUSE  # pyright: ignore[reportPrivateUsage]
    circuit.check()
    circuit.succeeded()
    circuit.check()
    circuit.check()


def test_a_single_failure_holds_nobody_up(clock: Clock) -> None:
    circuit = CircuitBreaker()
    for _ in range(10):
        circuit.failed()
        circuit.succeeded()
        circuit.check()


def test_what_the_trial_ends_with(clock: Clock) -> None:
    circuit = CircuitBreaker()

    def ask(outcome: BaseException | None = None, *, took: float = 0.0) -> str:
        try:
            with circuit.entered():
                clock.now += took
                if outcome is not None:
                    raise outcome
        except EndpointError as error:
            return error.code
        except BaseException as error:
            return type(error).__name__
        return "answered"

    unreachable = UnreachableError("no", url="")
    broken = UnexpectedResponseError("no", url="", status=500)
    for _ in range(3):
        assert ask(unreachable) == "UnreachableError"
    assert ask() == "inngest_unreachable"
    clock.now += limits._PAUSE  # pyright: ignore[reportPrivateUsage]
    # Whoever asked has left: the next one decides, at once.
    assert ask(asyncio.CancelledError(), took=5) == "CancelledError"
    # Who was not on trial and leaves decides nothing.
    assert ask(unreachable) == "UnreachableError"
    with pytest.raises(EndpointError):
        circuit.check()
    clock.now += limits._PAUSE  # pyright: ignore[reportPrivateUsage]
    # It answers again, though not with a token.
    assert ask(AuthenticationError("no", url="", status=401)) == "AuthenticationError"
    assert ask() == "answered"
    # One that fails at once holds nobody up; one that takes its time does.
    assert [ask(broken) for _ in range(5)] == ["UnexpectedResponseError"] * 5
    assert [ask(broken, took=3) for _ in range(4)] == ["UnexpectedResponseError"] * 3 + ["inngest_unreachable"]


def test_who_left_before_it_failed_is_no_trial(clock: Clock) -> None:
    circuit = CircuitBreaker()
    with contextlib.suppress(asyncio.CancelledError), circuit.entered():
        for _ in range(3):
            circuit.failed()
        raise asyncio.CancelledError
    with pytest.raises(EndpointError):
        circuit.check()


class Named:
    def __str__(self) -> str:
        return "ada"


def test_names_of_clients() -> None:
    assert [client_name(client) for client in ("ada", 7, None, Named(), UUID(int=0))] == [
        "ada",
        "7",
        None,
        "ada",
        "00000000-0000-0000-0000-000000000000",
    ]
    # A header may be of any length and content.
    long = [client_name("x" * 60_000 + end) for end in ("a", "b", "\ud800")]
    assert len({*long}) == 3
    assert all(name is not None and len(name) <= 128 for name in long)
    assert client_name("x" * 60_000 + "a") == long[0]
    for nobody in (object(), CircuitBreaker()):
        with pytest.raises(ConfigurationError, match="whose the request is"):
            client_name(nobody)


def test_slots_from_many_threads() -> None:
    slots = StreamSlots(None, 5)
    refused: list[str] = []

    def come_and_go() -> None:
        for _ in range(200):
            try:
                slots.acquire("ada")
            except EndpointError as error:
                refused.append(error.code)
            else:
                slots.release("ada")

    threads = [threading.Thread(target=come_and_go) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert slots._open == 0  # pyright: ignore[reportPrivateUsage]
    assert set(refused) <= {"too_many_streams_per_client"}
