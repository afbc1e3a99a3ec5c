"""The engine as a server that speaks the OpenAI interface, log-probabilities of prompts included. Level 9."""
