"""Training a network, choosing its threshold, and choosing the clips to label next."""
