"""What a result can be proven with: code, environment and inputs, as they were when a run was submitted."""
