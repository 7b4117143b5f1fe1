"""What is written besides the adapter's weights."""
