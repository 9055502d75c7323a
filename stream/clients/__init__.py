"""What programs around the pipeline use: send events, read updates, forget and export users.

`producer` sends events to the clickstream, `reader` reads updates as they come and what is kept of
one user, `dead_letter_replay` sends parked records again once their cause is mended. `erasing` asks
workers to forget users: `requests` sends what is asked, `request_watch` sees it obeyed, `holdings`
finds what topics hold of a user, which `exporting` writes into a file. `forwarding` sends profiles
on to a `webhook`. All are ordinary Kafka clients and share no state with a worker. The command
line and the public package `interest_stream` import them. Begin with `reader`.
"""
