"""What probes have to give to metrics: typed views of stored tensors."""
