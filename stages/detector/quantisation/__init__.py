"""Making the integers of `stages.detector.integer` from a trained network."""
