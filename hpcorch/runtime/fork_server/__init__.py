"""One process that has started the program, and from which runs are forked: what is imported is imported once."""
