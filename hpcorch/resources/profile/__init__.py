"""The site profile: what it holds, and the YAML file that it is read from."""
