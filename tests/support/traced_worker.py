"""celery_worker.py with opentelemetry-instrumentation-celery, as its documentation says; spans go to
OTEL_EXPORTER_OTLP_ENDPOINT."""

from celery.signals import worker_process_init
from celery_worker import *  # noqa: F403
from celery_worker import app  # noqa: F401
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


@worker_process_init.connect(weak=False)
def init_tracing(*args, **kwargs):
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()
