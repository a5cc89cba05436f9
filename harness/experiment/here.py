"""Trials that this very brokerbench runs, in this process."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from harness.deployments.contract import Deployment
from harness.experiment.single import Done, run_one
from harness.run.progress import Listener
from harness.scenario.model import Case, Scenario

IMAGE_VARIABLE = "BROKERBENCH_IMAGE_"
"""Followed by the broker in capitals: an image of the user's own (``containers.images``)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Here:
    """Runs trials in this process.

    Args:
        deployment: where brokers run. command: what the user typed. images: broker → the image that its containers are made from.
    """

    deployment: Deployment
    command: str
    images: Mapping[str, str] = field(default_factory=dict)

    def run(self, scenario: Scenario, case: Case, listener: Listener, *, seed: int, root: Path) -> Done:
        """Runs one trial; as :class:`harness.experiment.pairs.Runner`."""
        with named_images(self.images):
            return run_one(scenario, case, self.deployment, listener, seed=seed, root=root, command=self.command)


def image_variables(images: Mapping[str, str]) -> dict[str, str]:
    """Returns the environment variables that name the images of brokers."""
    return {f"{IMAGE_VARIABLE}{broker.upper()}": image for broker, image in images.items()}


@contextmanager
def named_images(images: Mapping[str, str]) -> Iterator[None]:
    """Lets the brokers' containers be made from these images, until it ends."""
    named = image_variables(images)
    before = {name: os.environ.get(name) for name in named}
    os.environ.update(named)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
