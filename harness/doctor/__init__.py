"""What this machine can do: ``brokerbench doctor``.

=============  ======================================================================================================
``finding``    one line of the diagnosis, and the diagnosis: the shape of ``--json``
``examine``    all checks in order, each bounded in time, none able to end the others
``software``   Python, brokerbench and its packages
``machine``    cores, memory, places for slots and data, scheduling, timers, clock, what else runs
``servers``    the embedded brokers, whom they run as, ports
``traces``     the state folder, living runs, what killed runs left
``engine``     Docker
``rights``     what power loss and slow networks would need
=============  ======================================================================================================

A check reads facts and hands them to a function without side effects that judges them. Nothing starts a broker, nothing changes
the machine, nothing is left behind.
"""
