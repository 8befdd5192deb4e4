"""The exercises of notebook 10: `checks` of what a reader writes, a `museum` of broken programs."""
