"""The evolutionary search: what to try next, on how many samples, and what was learnt.

Numpy only. `Search` (search.py) is the entry; everything it knows lies in its `Journal`.
"""
