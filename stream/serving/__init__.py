"""Answers over HTTP what each user is interested in, who is interested in what, and takes events.

`interest-stream serve` has no consumer group and no Faust. One process reads the compacted profiles
into an SQLite file, and the one that has started it answers from that file. So no worker waits for
a request and no request for a batch, and any number of instances stand side by side: each holds
everything. It runs by itself, so only the command line imports it, as it does `worker` and `demo`.

    app            puts the parts together; what every request passes
    context        the parts, and what routes share: answers, errors, parameters
    lookups        who asks for one user, answered in front of the framework
    reading        the routes that read: users, segments, interests, the live feed
    writing        the routes that write: events in, a user erased
    operating      health, metrics, the page
    guard          who may ask what, and how often
    following/     the process that reads profiles and updates, and says how old the answers are
    store/         what is kept, each batch of records together with its positions
    queries        what can be asked of it
    updates        what a record of the two topics says, and which of two is the newer one
    feed           hands updates on to everybody who listens
    bodies         what a body holds, and the records that its documents become
    ingest         these to the broker, with a verdict for each event
    erasures       requests to erase a user, and how far they are
    overview/      what the page shows besides profiles: trends over all users, workers, outcomes
    meters         the metrics of this process
    clock          the time of this machine
    connections    HTTP with whoever connects
    process        runs it all until a signal ends it

Begin with `store`, then `following`, then `app`.
"""
