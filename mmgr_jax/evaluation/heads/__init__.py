"""What learns on frozen features: many small heads side by side."""
