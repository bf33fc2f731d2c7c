"""Damage, kills, full disks and strange files: what is noticed, and what resumes."""
