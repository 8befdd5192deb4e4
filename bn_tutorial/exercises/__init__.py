"""The exercises of chapter 10: `checks` of what a reader writes, a `museum` of broken programs."""
