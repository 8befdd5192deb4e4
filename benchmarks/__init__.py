"""The article's protocol in several ways, timed side by side."""
