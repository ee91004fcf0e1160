"""What hpcorch knows, as plain values: identities, states, events and the fold from one to the other. No I/O."""
