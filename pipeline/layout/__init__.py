"""Read untrusted layout files in a child process."""
