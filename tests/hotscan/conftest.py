"""The small scan of the pipeline's tests, for the public API."""

from tests.pipeline.conftest import labelled, reference, samples_read_once, small_scan

__all__ = ["labelled", "reference", "samples_read_once", "small_scan"]
