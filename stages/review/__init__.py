"""What a reader is to do about the hotspots: levels, waivers, what changed since."""
