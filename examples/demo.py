"""The whole of it in one go: an Inngest, an application, and a pipeline whose progress you watch.

`python examples/demo.py [fastapi|starlette|flask|django] [--once] [--port PORT]`
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import threading
import traceback

import servers


def main() -> int:
    parser = argparse.ArgumentParser(description="Watch a pipeline's progress in the terminal and in the browser.")
    parser.add_argument("framework", nargs="?", default="fastapi", choices=sorted(servers.SERVE))
    parser.add_argument("--once", action="store_true", help="show one run in the terminal, then end")
    parser.add_argument("--port", type=int, default=0, help="the application's port; a free one by default")
    options = parser.parse_args()
    if options.once:
        os.environ.setdefault("PIPELINE_PACE", "0.3")
    with servers.inngest() as where:
        port = options.port or servers.free_port()
        url = f"http://127.0.0.1:{port}"
        print(f"\n  Inngest      {where}\n  Application  {url}  ({options.framework})\n", flush=True)
        outcome: list[bool] = []
        watcher = threading.Thread(target=watch, args=[url, options.once, outcome], name="terminal", daemon=True)
        watcher.start()
        try:
            servers.SERVE[options.framework](port)
        except KeyboardInterrupt:
            pass
        return 0 if not options.once or outcome == [True] else 1


def watch(url: str, once: bool, outcome: list[bool]) -> None:
    from terminal import show

    try:
        outcome.append(asyncio.run(show(url)))
    except Exception:
        traceback.print_exc()
        once = True
    if once:
        os.kill(os.getpid(), signal.SIGINT)  # the main thread serves until then
    else:
        print(f"\n  Now open {url} and start a run there. Ctrl+C stops everything.\n", flush=True)


if __name__ == "__main__":
    sys.exit(main())
