"""How exact light, masks and processes are."""
