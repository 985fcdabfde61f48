"""Where models run: a worker process per device, or the caller's own process."""
