"""A user's own causal language model in the place of the small one. Needs the optional extra [llm]."""
