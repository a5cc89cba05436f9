"""A sweep for people: ``told`` has its words, ``terminal`` prints them, ``picture`` draws the curves."""
