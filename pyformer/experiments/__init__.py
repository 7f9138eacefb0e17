"""What `pyformer derive` and `pyformer compare` train: tasks, models, reports and drawings."""
