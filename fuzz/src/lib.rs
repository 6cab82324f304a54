//! Fuzz targets for every parser of outside bytes, and the replay of their corpora.
