"""One use case a module: record, submit, run locally, observe, reconcile, report. Front ends call only these."""
