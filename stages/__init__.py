"""What is computed: pure functions, each over one unit of work."""
