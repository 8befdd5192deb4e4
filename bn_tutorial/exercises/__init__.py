"""The exercises of notebook 8: `checks` of what a reader writes, a `museum` of broken programs."""
