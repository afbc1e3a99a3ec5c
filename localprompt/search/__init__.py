"""What an optimiser searches with: scores, proposer, ranking, filters, races."""
