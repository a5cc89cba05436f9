"""Gating: from the records of runs to verdicts on rules (``gate.md``). Pure: reads records, runs nothing, prints nothing.

``rules`` is what is asked, ``evidence`` what there is to judge by, ``judge`` answers with an ``outcome``. ``noise`` and ``power`` say
what a comparison can see at all, ``baseline`` is evidence that is kept as a file, ``pairs`` the record of an ``ab``.
"""
