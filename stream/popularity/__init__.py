"""What all users met lately: counted by one job, followed by every worker that is set to do so.

`counts` is pure: it holds the decayed counts and the snapshot that carries them. `job` reads the
clickstream and publishes snapshots; `follower` sets the newest one in a worker's model. Nothing in
here can stop a worker or change a state. The worker and the command line import this room; decision
0010 says why counting is a job of its own. Begin with `counts`.
"""
