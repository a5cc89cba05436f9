"""Scenarios: one question as YAML, read and validated whole, expanded to cases.

Floor 1, pure but for reading the file. The path of a scenario: ``shipped`` finds it, ``source`` makes a tree that knows its
lines and applies ``--set``, ``keys`` (tables of ``shapes``) says what may stand in it, ``checks`` refuses what cannot be,
``expand`` makes cases, ``read`` puts it together into ``model.Scenario``. ``schema`` and the reference documentation come
from the same tables. What the floors above serve (setups, faults, deployments) is handed in as a ``catalogue``.
"""
