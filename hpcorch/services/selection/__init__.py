"""How a person names sweeps, runs, states, times and conditions."""
