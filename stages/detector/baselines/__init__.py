"""The detectors that ours is compared with, each after its paper."""
