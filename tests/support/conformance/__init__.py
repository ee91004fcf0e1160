"""Cases that every implementation has to pass, pretended or real: test classes inherit them."""
