"""A process that forks while streams are open: its child has limits of its own, and the parent keeps its own."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from inngest_realtime_devserver.server import DevServer

_CODE = """
import os, signal, sys, threading, warnings
from inngest_realtime_core import Channel, Grant, Realtime, allow_anyone, topic
from inngest_realtime_core.endpoints import EndpointOptions, EndpointRequest, Endpoints

warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of any fork in a process with threads

class Job(Channel, name="job:{run_id}"):
    run_id: str
    t = topic(str)

realtime = Realtime()
options = EndpointOptions(max_streams=4, max_streams_per_client=3, burst_per_client=4, client=lambda request: "ada")
endpoints = Endpoints(realtime, [Grant(Job, authorize=allow_anyone)], options)
request = EndpointRequest("GET", "runId=a", {}, None)

def stream():
    answer = endpoints.stream_sync("job", request)
    return iter(answer.body) if answer.status == 200 else answer.status

streams = [stream() for _ in range(3)]
assert [next(each) != b"" for each in streams] == [True] * 3
assert stream() == 429
locks = threading.Event(), threading.Event()

def hold():
    limits = endpoints._streams._slots, endpoints._rate, endpoints._tokens._circuit
    for each in limits:
        each._lock.acquire()
    for _ in range(8):
        endpoints._tokens._threads._slots.acquire()
    locks[0].set()
    locks[1].wait()
    for each in limits:
        each._lock.release()

thread = threading.Thread(target=hold)
thread.start()
locks[0].wait()
sys.stdout.flush()
pid = os.fork()
if not pid:
    signal.alarm(10)  # kills a child that hangs
    print(realtime.stats().endpoint_streams, endpoints.token_sync("job", request).status, end=" ")
    own = [stream() for _ in range(3)]
    print([next(each) != b"" for each in own], stream(), end=" ")
    for each in streams + own:
        each.close()
    print(realtime.stats().endpoint_streams, flush=True)
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
locks[1].set()
thread.join()
print(code, realtime.stats().endpoint_streams, stream(), end=" ")
for each in streams:
    each.close()
print(realtime.stats().endpoint_streams)
realtime.close_sync()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
async def test_the_child_of_a_fork_has_all_of_its_limits(server: DevServer) -> None:
    """Its parent's streams were counted as its own for ever, and a lock that was held was held for ever."""
    environment = os.environ | {"INNGEST_DEV": server.url}
    process = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _CODE], env=environment, capture_output=True, text=True, timeout=40
    )
    assert process.stdout.splitlines() == ["0 200 [True, True, True] 429 0", "0 3 429 0"], process.stderr
