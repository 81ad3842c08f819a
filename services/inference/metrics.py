"""What /metrics tells, under the names that TGI gives it."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from services.inference.decoding import Finished
from services.inference.engine import Engine, Ticket

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_TOKENS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)


class Metrics:
    """The counts of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("tgi_request_count", "Requests that were taken in", "method")
        self._succeeded = self._counter("tgi_request_success", "Requests that were answered", "method")
        self.failed = self._counter("tgi_request_failure", "Requests that were not", "err")
        self._batches = self._counter("tgi_batch_inference_count", "Forwards", "method")
        self._batch_rows = self._gauge("tgi_batch_current_size", "Requests in the latest forward")
        self._queue = self._gauge("tgi_queue_size", "Requests that the model has not turned to")
        self._in_flight = self._gauge("tgi_in_flight_requests", "Requests that wait or are worked on")
        self._histograms = {
            name: Histogram(f"tgi_request_{name}", text, registry=self._registry, buckets=buckets)
            for name, text, buckets in (
                ("input_length", "Tokens of the prompt", _TOKENS),
                ("generated_tokens", "Tokens of the answer", _TOKENS),
                ("duration", "Seconds from asking to the answer's end", _SECONDS),
                ("queue_duration", "Seconds until the model turned to it", _SECONDS),
                ("inference_duration", "Seconds of the model's", _SECONDS),
                ("mean_time_per_token_duration", "Seconds of the model's for each token", _SECONDS),
            )
        }

    def batch(self, kind: str, rows: int) -> None:
        self._batches.labels(kind).inc()
        self._batch_rows.set(rows)

    def answered(self, method: str, ticket: Ticket, finished: Finished) -> None:
        """Count an answer that came to its end."""
        self._succeeded.labels(method).inc()
        observed = {
            "input_length": len(ticket.work.prompt),
            "generated_tokens": finished.generated,
            "duration": ticket.queue_seconds + ticket.inference_seconds,
            "queue_duration": ticket.queue_seconds,
            "inference_duration": ticket.inference_seconds,
            "mean_time_per_token_duration": ticket.inference_seconds / finished.generated,
        }
        for name, value in observed.items():
            self._histograms[name].observe(value)

    def text(self, engine: Engine) -> bytes:
        self._queue.set(engine.waiting)
        self._in_flight.set(engine.in_flight)
        return generate_latest(self._registry)

    def _counter(self, name: str, text: str, label: str) -> Counter:
        return Counter(name, text, (label,), registry=self._registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(name, text, registry=self._registry)
