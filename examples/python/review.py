"""Lets something change files, looks at what it did, keeps it, and goes back."""

from pyro_mcp import Workspace

with Workspace.create("debian:12") as ws:
    ws.files.write("greeting.txt", "hello\n")
    ws.snapshot("written")
    ws.run("sed -i s/hello/goodbye/ greeting.txt; touch left-over", check=True)
    for change in ws.diff():
        print(change.status, change.path)
    print(ws.files.read("greeting.txt").text, end="")
    ws.reset(snapshot="written")
    print(ws.files.read("greeting.txt").text, end="")
    ws.reset()
    print(ws.diff().changed)

"""Prints, for example:

added greeting.txt
added left-over
goodbye
hello
False
"""
