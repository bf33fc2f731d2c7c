"""Write the sample layouts from a seed.

python sample_layouts/make.py [--out DIR] [--seed N] [--size-um UM]
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHIPPED = HERE.parent / "pipeline" / "scan" / "samples"
"""Where the program has the tiny ones, for ``hotscan warm``."""
if not __package__:  # run as a script, from anywhere
    sys.path.insert(0, str(HERE.parent))

from sample_layouts.block import write_block  # noqa: E402
from sample_layouts.dense import write_dense  # noqa: E402
from sample_layouts.tiny import write_tiny  # noqa: E402

SEED = 2720


def write_samples(folder: Path, *, seed: int = SEED, size_um: float = 300.0) -> tuple[Path, ...]:
    """Write ``{block,dense}.gds.gz`` and ``tiny.{gds,oas}`` into `folder`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    names = "block.gds.gz", "dense.gds.gz", "tiny.gds", "tiny.oas"
    block, dense, gds, oas = (folder / name for name in names)
    write_block(block, size_um=size_um, seed=seed)
    write_dense(dense, size_um=size_um, seed=seed)
    write_tiny(gds, oas, seed=seed)
    if folder == HERE:
        for path in (gds, oas):
            shutil.copy(path, SHIPPED)
    return block, dense, gds, oas


def main() -> None:
    """Write the samples, and say where they are."""
    parser = argparse.ArgumentParser(description="Write the sample layouts from a seed.")
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write into")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default {SEED}")
    parser.add_argument("--size-um", type=float, default=300.0, help="side of block and dense")
    asked = parser.parse_args()
    for path in write_samples(asked.out, seed=asked.seed, size_um=asked.size_um):
        print(f"{path}  {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
