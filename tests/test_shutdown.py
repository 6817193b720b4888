from __future__ import annotations

import os
import subprocess
import sys
import time

from inngest_realtime_core.devserver import DevServer

# As a threaded worker of gunicorn: its signal handler raises SystemExit on the main thread, and Python then waits for
# the threads of the pool. A signal may come before the main thread was asked to put our handler before that one.
POOL = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from inngest_realtime_core import Realtime

realtime = Realtime()
began = threading.Semaphore(0)

def serve():
    with realtime.subscribe_sync(channel="c", topics=["t"]) as subscription:
        for part in subscription.get_event_stream(heartbeat=0.1):
            began.release()
    print("ended")

pool = ThreadPoolExecutor()
for _ in range(2):
    pool.submit(serve)
for _ in range(4):
    began.acquire()
sys.exit(3)
"""


def test_streams_in_pools_of_threads_do_not_keep_a_process_that_exits() -> None:
    began = time.monotonic()
    with DevServer().in_thread() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", POOL],
            env={**os.environ, "INNGEST_DEV": server.url},
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stdout, done.stderr) == (3, "ended\nended\n", "")
    assert time.monotonic() - began < 10
