"""The networks: their shapes as plain values, and what they compute in torch."""
