"""Trainings of a few steps, and those that several tests compare with."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pipeline.train.model import TrainRequest, train_model
from tests.support.shared import make_once

QUICK = {"epochs": 2, "steps": 2, "batch": 8}
ONE = QUICK | {"epochs": 1}


def train(labelled: Path, out: Path, **changed: object) -> dict[str, object]:
    return train_model(ask(labelled, out, validation=(labelled,), training=QUICK | changed))


def ask(labelled: Path, out: Path, **changed: Any) -> TrainRequest:
    """A quick training."""
    return TrainRequest(**{"datasets": (labelled,), "out": out, "training": QUICK, **changed})


@dataclass(frozen=True)
class Whole:
    """A training that nothing stopped."""

    checkpoint: Path
    digest: str
    said: list[str]


def train_once(factory: pytest.TempPathFactory, name: str, labelled: Path, **changed: Any) -> Whole:
    """Train for all tests of all processes that compare with it."""

    def make(folder: Path) -> None:
        said: list[str] = []
        out = folder / "model" / "m.pt"
        out.parent.mkdir()
        made = train_model(ask(labelled, out, **changed), log=said.append)
        (folder / "said.json").write_text(json.dumps([made["digest"], said]))

    folder = make_once(factory, name, make)
    return Whole(folder / "model" / "m.pt", *json.loads((folder / "said.json").read_text()))
