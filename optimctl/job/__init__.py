"""The job file: its format (``schema``), how files and options become one job (``load``), and where each key stands (``locate``)."""
