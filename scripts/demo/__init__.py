"""What scripts/main_job.py shows: the nodes, the screen, the picture of the state."""
