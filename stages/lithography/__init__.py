"""Lithography simulation: images, prints and defects of drawn shapes, and OPC."""
