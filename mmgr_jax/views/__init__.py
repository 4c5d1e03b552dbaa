"""Shows tiles next to the views that training makes of them."""
