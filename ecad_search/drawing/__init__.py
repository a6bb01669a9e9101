"""Pictures of fronts, schedules and comparisons, drawn with Pillow alone."""
