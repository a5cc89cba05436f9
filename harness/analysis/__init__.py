"""From the ledger of a trial to what is said about it; pure, so that ``report`` can make every figure again from the files.

``reconcile`` tells what became of every message (``classes``, ``causes``, ``executions``, ``jepsen``, ``examples``), ``measure`` and
``recovery`` how fast, ``guarantees`` and ``trust`` what that says about the setup and about the trial; ``analyse`` calls them in order.
"""
