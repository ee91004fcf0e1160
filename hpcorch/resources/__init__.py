"""What runs share and how it is kept within its capacity: the site profile, caps, envelopes, leases."""
