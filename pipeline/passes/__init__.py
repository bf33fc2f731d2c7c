"""The passes over the geometry: cut clips, find distinct pictures, draw and score them."""
