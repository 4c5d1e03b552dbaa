"""What a run would cost on a machine one does not have, from its compiled step."""
