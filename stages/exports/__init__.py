"""Tables, markers and pages that people and tools read."""
