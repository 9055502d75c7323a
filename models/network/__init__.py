"""Holds the neural networks: event inputs, LSTM, soft tokens, language model; and their losses.

`interest_network` puts all of it together; `lstm` remembers a user in a state of fixed size;
`language_model` reads recent events and soft tokens, `bfloat16` the same on processors that have
instructions for it; `attention` reads the newest items, with vectors of its own; `losses` is what
training makes small. State is passed in and returned, never kept. `serving`, `evaluation`,
`training` and `model_directory` import this room. Begin with `interest_network`.
"""
