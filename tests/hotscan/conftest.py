"""The small scan of the pipeline's tests, for the public API."""

from tests.pipeline.conftest import labelled, reference, small_scan

__all__ = ["labelled", "reference", "small_scan"]
