from __future__ import annotations

import copy
import pickle

import pytest

from inngest_realtime_core import errors

SAMPLES = [
    errors.RealtimeError("m"),
    errors.ConfigurationError("m"),
    errors.ChannelError("m", parameter="run_id"),
    errors.TopicError("m", topic="t"),
    errors.PublishError("m"),
    errors.AuthenticationError("m", url="http://h/p", status=401),
    errors.UnreachableError("m", url="http://h/p"),
    errors.UnexpectedResponseError("m", url="http://h/p", status=500),
    errors.MessageValidationError("m", channel="c", topic="t"),
    errors.FrameTooLargeError("m", size=5, channel="c"),
    errors.ConcurrentReadError("m"),
    errors.ConnectionLostError("m", url="http://h/p"),
    errors.SubscriptionClosedError("m"),
    errors.ShuttingDownError("m"),
    errors.DataStreamInterruptedError("m", stream_id="s", channel="c", topic="t"),
]


def test_every_error_is_sampled() -> None:
    kinds = {
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.RealtimeError)
    }
    leaves = {kind for kind in kinds if not any(other is not kind and issubclass(other, kind) for other in kinds)}
    assert len(leaves) > 10
    assert leaves <= {type(error) for error in SAMPLES}


@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_errors_travel_between_processes_and_threads(error: errors.RealtimeError) -> None:
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is type(error)
        assert str(other) == "m"
        assert vars(other) == vars(error)
        assert other.__traceback__ is None
