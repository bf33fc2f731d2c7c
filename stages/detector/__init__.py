"""The hotspot detector: its networks, how they are trained, and the models that come of it.

Each folder imports from those above it only::

    networks      shapes as plain values; ours, the prefilter's and the committee in torch
    baselines     the detectors that ours is compared with
    training      losses, the loop, thresholds, the choice of clips to label next
    catalogue.py  the detectors by name
    integer       scoring in integers, without torch
    models        checkpoints, users' modules, ONNX: trained detectors and what a scan asks of them
    quantisation  from a trained model to its integers
    weights       the shipped models
"""
