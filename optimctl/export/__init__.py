"""Writing a job or a run in another format: a file a format."""
