"""One command in a fresh machine, which is gone afterwards."""

from pyro_mcp import Pyro

result = Pyro().run_in_vm(
    environment="debian:12",
    command="uname -sr; git --version",
    timeout_seconds=60,
)
print(result["stdout"], end="")
print("exit code", result["exit_code"])

"""Prints, for example:

Linux 6.1.0-56-cloud-amd64
git version 2.39.5
exit code 0
"""
