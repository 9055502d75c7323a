"""Shows what happens over all users and around them: what the page has besides profiles.

    pulse        how much goes to each interest, who came and who went, by slots of time
    outcomes     what users did after an update, and whether it had said so
    workers      who works, and how far behind, asked of the broker now and then
    calibration  how far the probabilities of a model can be trusted, from its report
    truth        what is true of simulated users, in a demo
    parts        holds these, for the routes
    routes       answers with them

Nothing here is needed to answer for a user. Begin with `pulse`, then `routes`.
"""
