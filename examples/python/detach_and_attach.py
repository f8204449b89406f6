"""A command that nobody needs to wait for, and two looks at it."""

from pyro_mcp import Workspace

with Workspace.create("debian:12") as ws:
    job = ws.start_exec("for i in 1 2 3; do echo step $i; sleep 0.3; done; exit 3")

    # Any process that knows the two ids may attach, as often as it likes; leaving ends nothing.
    with ws.attach(job.exec_id) as first_look:
        print(next(first_look.stdout.lines()))

    # From any byte of the output on; the end is heard whether the command still runs or not.
    second_look = ws.attach(job.exec_id, offset=len("step 1\n"))
    for line in second_look.stdout.lines():
        print(line)
    print("ended with", second_look.wait().exit_code)

"""Prints, for example:

step 1
step 2
step 3
ended with 3
"""
