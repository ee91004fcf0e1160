"""The files of a sweep directory: journals, manifests, their lock and their places."""
