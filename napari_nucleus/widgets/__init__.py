"""The app in napari: the only place that knows napari and Qt."""
