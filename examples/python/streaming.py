"""Output line by line as it is printed, and a conversation through stdin."""

from pyro_mcp import Workspace

with Workspace.create("debian:12") as ws:
    build = ws.exec("for step in fetch compile test; do echo $step; sleep 0.2; done")
    for line in build.stdout.lines():
        print("build:", line)
    print("ended with", build.wait().exit_code)

    with ws.exec(["python3", "-i", "-q"], stdin=True) as python:
        assert python.stdin is not None
        for sum_ in ("6 * 7", "2 ** 10"):
            python.stdin.write(sum_ + "\n")
            print(sum_, "=", python.stdout.read_some().decode().strip())

"""Prints, for example:

build: fetch
build: compile
build: test
ended with 0
6 * 7 = 42
2 ** 10 = 1024
"""
