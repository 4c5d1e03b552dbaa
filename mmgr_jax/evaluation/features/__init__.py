"""Features that heads read: from encoders and baselines, in groups; their quality."""
