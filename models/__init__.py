"""The models of interest-stream: from histories of events to interests and next items, and back.

It never imports `stream`. A reader follows docs/understand/path-of-a-model.md: events are prepared
(`data/`), networks and scorers learn from them (`training/`), a model directory holds the result,
and a worker loads it and runs one scoring pass a batch (`serving/`). The rooms:

    predict            loads a model for a worker: the door between the two packages
    training/          from a data set to a model directory, in resumable stages
    model_directory    readable files, hashed, never unpickled
    model_files        reads and checks these files, without torch
    calibration/       first interests corrected by events that came after the training
    evaluation/        measures, baselines, reports: what a model is worth
    llm/               a user's own causal language model in the scoring step
    serving/           a loaded model answering: steps, scoring pass, causes
    network/           the neural networks and their losses
    data/              events to data sets: cleaning, splits, interests
    scorers/           one file a scorer of the blend, behind one interface
    current_interest   which interest of a user is the current one, by the last events
    contract           what a worker knows of a model; no torch
    vocabulary, compact, errors    numbers for texts and items, the compact event, the errors
"""
