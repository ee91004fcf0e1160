"""Archives of code states on disk: written whole, found again by their digest, read with every byte compared."""

