"""Work shared out over processes, on this machine or on many, by Ray."""
