"""Training: cells of one shape advance as one stacked step."""
