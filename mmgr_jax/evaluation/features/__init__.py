"""What heads are given: of encoders, of baselines, in groups; and its health."""
