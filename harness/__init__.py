"""From a scenario to a run folder.

The floors, imports going downwards only (``tests/unit/test_floors.py`` enforces it):

====  ================================================================================================================
0     ``model facts errors units clock record tables metrics files redaction``
1     pure: ``scenario schedule envelope histogram analysis gate``
2     ``ledger gather store pairs_folder timeline``, ``journal sweeping sweepers minder processes programs mounts``, ``environment stalls baselines calibrations``, ``containers brokers deployments faults proxy``
3     ``load``: shard loops, and ``load.fleet``, the only module that imports locust
4     ``run``: the phases of a trial, in order; it reads as the story; ``doctor``: what this machine can do
5     ``experiment``: pairs, calibration, search and sweep, of runs
6     ``cli``, ``pytest_plugin``
====  ================================================================================================================

``reports`` (beside this package) reads run folders: it imports floors 0 and 1 and ``store``, never the rest.
"""

from importlib.metadata import version

__version__ = version("brokerbench")
