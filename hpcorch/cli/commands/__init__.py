"""One command a file: it reads its options, asks the services, and prints what they answer."""
