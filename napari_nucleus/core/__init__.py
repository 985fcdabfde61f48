"""Values and pure functions; knows numpy, scipy, scikit-image and shapely, nothing else."""
