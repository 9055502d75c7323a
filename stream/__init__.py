"""Holds the streaming side of interest-stream: everything from one Kafka topic to another.

Begin with `pipeline/`, which is the path of an event, hop by hop; its map is
docs/understand/path-of-an-event.md. These are the rooms, from the shell to the ground; each imports
only rooms further down:

    cli/          one file a command: arguments in, text out, an exit code
    demo/         everything on this machine, live, with a simulated population
    serving/      answers over HTTP, a page, events in: a process beside the workers
    worker/       the process around the pipeline: start, refusals, recovery, health, end
    bench/        programs that measure a worker
    clients/      what other programs use: send events, read updates, forget users, replay letters
    offline/      event files to data sets, rankings and evaluations, without Kafka
    popularity/   the job that counts what all users met, and the worker's side of it
    audit/        "was every event applied exactly once?", answered with code of its own
    broker/       a real Apache Kafka on this machine
    pipeline/     the eight hops of an event
    policies/     rules that the hops consult: which updates to send, which users to score
    files/        event, catalogue and prediction files
    schema_registry/  fetches the schemas that values name by an id
    kafka/        Faust and aiokafka, tamed: the only room that reaches into their insides
    formats/      the shapes that topics have elsewhere, read as events of the contract
    contracts/    what clusters store and others read: events, faults, the state record, schemas
    config/       the settings, and the five places where their values stand
    simulation/   a population whose true interests are known

Single files are the ground that every room stands on: `setting_rules` (what a setting may be),
`errors` (what a caller should do), `metrics` (the closed list), `logs` and `plain_text` (what
strangers wrote, made safe to show). The models live in the package `models`, which never imports
this one; what a worker knows of a model is `models.contract`.
"""
