"""A simulated population whose true interests are known: they hold, switch and return.

It is the only place where the truth behind events exists, so the demo, the drift measurements and
the tests can say how often an update was right. The catalogue is made of words in
`catalogue_words`. Pure, with a seed for everything. Begin with `population`.
"""
