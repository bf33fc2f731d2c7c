"""Networks in integers: the same scores on every machine, and several times as fast."""
