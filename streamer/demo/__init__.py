"""The whole system on one machine: embedded Kafka and Redis, a real stream, the production worker, a view.

`main` holds the order of things; `worker` starts the worker and reads its metrics, `feed` publishes the
stream at a pace the worker follows, `view` shows what happens, `ending` tells what came of it, and
`interruption` is how it is told to end.
"""

from streamer.demo.main import DemoOptions, run

__all__ = ["DemoOptions", "run"]
