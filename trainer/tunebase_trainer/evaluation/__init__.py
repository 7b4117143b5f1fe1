"""What shows how good an adapter is."""
