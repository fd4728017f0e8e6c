"""The container engine of this machine: docker, podman or buildx."""
