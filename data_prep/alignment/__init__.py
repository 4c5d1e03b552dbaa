"""Do POIs lie where the imagery shows them? Shifts and wrong datums, found."""
