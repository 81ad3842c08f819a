"""`GET /metrics`: queues, workers, and what the arena counted (shared/jobs/live.py), in Prometheus' text format."""

from collections import Counter
from collections.abc import Iterator
from types import SimpleNamespace

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily

from shared.jobs.queue import Queues

_HELP = {
    "battles": "Battles that were recorded, by how they ended.",
    "decisions": "Decisions in them, by how they came about.",
    "tokens": "Tokens that models read (in) and wrote (out), where their servers told.",
    "cost_usd": "What models cost, where their prices are known.",
}


def exposition(queues: Queues) -> bytes:
    """All of it in Prometheus' text format. Raises Unreachable."""
    registry = CollectorRegistry(auto_describe=False)
    metrics = list(_metrics(queues))
    registry.register(SimpleNamespace(collect=lambda: metrics))
    return generate_latest(registry)


def _metrics(queues: Queues) -> Iterator[Metric]:
    waiting = GaugeMetricFamily("alphastral_queue_jobs", "Jobs that wait.", labels=["queue"])
    for queue, depth in queues.depths().items():
        waiting.add_metric([queue], depth)
    yield waiting
    workers = GaugeMetricFamily("alphastral_workers", "Workers that live.", labels=["queue", "state"])
    for (queue, state), number in Counter((each.queue, each.state) for each in queues.workers()).items():
        workers.add_metric([queue, state], number)
    yield workers
    counted = queues.counted()
    for name, said in _HELP.items():
        family = CounterMetricFamily(f"alphastral_{name}", said, labels=["kind"])
        for key, value in sorted(counted.items()):
            if key.startswith(f"{name}:"):
                family.add_metric([key.partition(":")[2]], value)
        yield family
    answers = SummaryMetricFamily("alphastral_answer_seconds", "From a question to a model to the last token.")
    answers.add_metric([], int(counted.get("answers:", 0)), counted.get("answer_seconds:", 0.0))
    yield answers
