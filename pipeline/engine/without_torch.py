"""Imported first by a process that may never need torch: it is imported when it is used."""

from pipeline.engine.lazy import import_lazily

import_lazily("torch")
