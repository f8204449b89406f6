"""A workspace remembers: files, history and exit codes, also while it is stopped."""

from pyro_mcp import CommandFailedError, Workspace

with Workspace.create("debian:12", labels={"example": "lifecycle"}) as ws:
    ws.run("git init -q demo && echo hello > demo/README", check=True)

    try:
        ws.run("ls nowhere", check=True)
    except CommandFailedError as error:
        print("failed with", error.result.exit_code)

    ws.stop()
    print("now", ws.info.state)

    # It starts again when it is used.
    print(ws.run(["cat", "demo/README"]).stdout, end="")

    for one in ws.execs():
        print(one.sequence, one.exit_code, one.command)
# Leaving the block deletes it. Workspace.get("name") finds one that was there before, and never
# deletes it by itself.

"""Prints, for example:

failed with 2
now stopped
hello
1 0 git init -q demo && echo hello > demo/README
2 2 ls nowhere
3 0 cat demo/README
"""
