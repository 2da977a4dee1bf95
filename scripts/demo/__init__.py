"""What scripts/main_job.py shows: the screen, the picture of the state."""
