"""Packed tasks: elements of an array that execute runs one after another, or several at once."""
