"""What an evaluation found, as text, as JSON and as a page."""
