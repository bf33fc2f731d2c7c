"""Pages: what a person reads of a scan or a simulation, as one offline HTML file each."""
