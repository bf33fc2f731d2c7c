"""How fast hotscan starts, reads, images, scores and grows."""
