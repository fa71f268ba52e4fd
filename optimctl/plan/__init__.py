"""What a job would do, before it does it."""
