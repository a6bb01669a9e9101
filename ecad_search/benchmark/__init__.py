"""Schedules and models beside the uncached run on many samples: records, statistics, a report."""
