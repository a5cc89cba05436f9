"""What a gate answers, laid out for people and machines: the terminal's page, a job summary, JUnit XML, annotations.

All are made from an :class:`harness.gate.outcome.Outcome`, whose own JSON is the fourth form. ``told`` has the words that all of them
speak; nothing of a record reaches a page as anything but text.
"""
