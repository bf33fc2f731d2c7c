"""The hotspot detector: network, losses, training, and the file that holds a trained one."""
