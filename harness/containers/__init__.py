"""What is asked of the Docker engine: images, compose, networks, what containers use. ``deployments.docker`` makes a deployment of it."""
