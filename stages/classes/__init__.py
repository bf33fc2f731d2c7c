"""Classes of hotspots: the same place again, up to a tolerance."""
