"""Serves a loaded model: LSTM steps across users, one scoring pass a touched user, causes.

`predictor` is what a worker holds and `trained_model` what it is made of; `reading` is what is
known of some users at once; `scoring_pass` turns that into scores, as `one_operation`; of a large
catalogue `retrieval` finds the items that are scored, by an `item_search` or, where
`search_choice` finds that it holds, an `item_index`; `tables` are products of weights alone,
`membership` says which items belong to an interest; `because` says which past events an answer
rests on, `zero_shot` scores interests in words. `allocator` keeps the memory that tensors leave
behind, `mapped` lets go of what is a file. `model_directory`, `llm`, `evaluation` and `training`
import this room. Begin with `predictor`.
"""
