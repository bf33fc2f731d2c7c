"""Optical proximity correction."""
