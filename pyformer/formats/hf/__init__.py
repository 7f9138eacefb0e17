"""How Hugging Face's families name what we have: a table each of config.json's keys and of the tensors."""
