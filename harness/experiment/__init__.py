"""Experiments: several runs that together answer one question: pairs (``ab``, ``calibrate``), a search (``capacity``), a sweep.

Every trial is a run folder of its own, on a fresh deployment, so that each can be read, compared and computed again like any other.
"""
