"""Where data sets come from: a folder, an archive, or an S3 store, as a local folder."""
