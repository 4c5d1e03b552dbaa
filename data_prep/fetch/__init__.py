"""From an area to raw files: imagery, POIs and labels, fetched from open sources."""
