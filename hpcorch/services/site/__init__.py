"""What this project and this cluster allow: profile, limits, and the terms of a launch."""
