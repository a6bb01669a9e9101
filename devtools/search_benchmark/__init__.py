"""How good are fronts of schedules, and how many images do they take? See docs/results.md.

An *arm* is one way of searching. It asks a meter for scores; the meter counts every image and
keeps what was learnt when. Afterwards the fronts that the arm had at some budgets are scored anew
on prompts and seeds that no search saw, and what counts is the hypervolume of those scores.
"""
