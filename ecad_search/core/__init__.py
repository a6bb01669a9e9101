"""What a schedule is and what it costs: standard library and numpy only."""
