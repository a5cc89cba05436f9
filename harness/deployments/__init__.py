"""Where a setup runs: ``embedded`` child processes now; ``docker`` and ``external`` take the same seam (``contract``)."""
