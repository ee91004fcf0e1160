"""What several commands share: options, output, text, progress."""
