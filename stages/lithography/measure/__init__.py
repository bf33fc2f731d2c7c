"""What prints, and where it fails."""
