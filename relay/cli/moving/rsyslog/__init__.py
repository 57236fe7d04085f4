"""rsyslog's configuration, in all of its three styles, as one of the relay.

`language` reads a file into statements of one style.  `settings` and `inputs` read those that hold
for the whole.  `rules` follows the others from the first to the last; it makes a condition of what
stands around each action (`filters`, `selectors`, `patterns`), a form and steps of its template and
of what changes the message before it (`forms`), and a destination of the action (`actions`).
"""
