"""What a task will cost, from its spec alone: counts, memory, hours on a device. Nothing is trained or allocated."""
