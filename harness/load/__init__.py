"""Load: shards that produce or work, and the fleet of Locust nodes that starts, watches and stops them.

===============  ====================================================================================================
``seam``         what the story holds: one child process that speaks JSON lines
``plan``         the load of one trial, as the story asks for it; ``live``: the newest counts of one that runs
``fleet``        that child (coordinator) and its agents; the only module that imports locust and gevent
``coordinator``  between the harness and the agents: which shard runs where; ``nodes``: what it needs of Locust
``agent``        what a Locust worker does: run shards for its users
``door``         where agents of other machines come in, and the secret that they share; ``wire``: what is set on the sockets
``remotes``      the coordinator's account of agents on other machines; ``remote_agent``: their own side
``clocks``       how far their clocks stand from ours, and how well that is known, pure
``collect``      their slots, whole and in our clock; ``pull``: a file in checked chunks
``lend``         ``brokerbench agent``: trial after trial, and nothing is left; ``farewell``: that there is no other trial
``child``        a shard process as its agent sees it; ``page``: what Locust's web page may do
``book``         the coordinator's account of shards, pure
``statistics``   live counts → Locust's statistics, in bulk, pure
``shard``        the program of one shard: a plain process with one connection and one slot file
``producer``     its loop where it produces; ``outbox``: the slots, the window and who is held
``worker``       its loop where it works; ``inbox``: the slots of what is held
``connection``   the one connection: made, lost, made again, and written down
``pacing``       the grid of ticks, timer slack, scheduling
``config``       what a shard is told, as one JSON line
===============  ====================================================================================================
"""
