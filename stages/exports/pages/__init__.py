"""HTML pages of a scan and of a simulation, each one offline file."""
