"""A run: every case of a scenario, trial after trial on a fresh broker, into one run folder.

``trial`` is the story of one trial, ``harvest`` makes tables of what it left, ``analysis`` (floor 1) makes figures of the tables,
``recompute`` makes the figures again from an old folder. The record is saved at the start, after each load and after each
analysis, so that a crash of ours loses no evidence.
"""
