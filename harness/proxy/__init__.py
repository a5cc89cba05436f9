"""A proxy between the producers and the broker of a trial, which cuts replies to order.

``proxy`` is the handle that a trial holds, ``cutter`` the process behind it, ``relay`` what passes the bytes. It stands there only where
a fault of the scenario needs it; workers, probes and the search go to the broker directly.
"""
