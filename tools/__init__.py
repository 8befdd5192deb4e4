"""Scripts around the notebooks; the package does not need them."""
