"""A proposer's texts: meta-prompts in, validated instructions out."""
