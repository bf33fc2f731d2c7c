"""Layouts to try hotscan on, and the program that draws them."""
