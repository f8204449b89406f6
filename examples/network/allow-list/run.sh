#!/bin/sh
# A workspace that reaches what its rules name and nothing else, and says what it wanted.
#
#   examples/network/allow-list/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux

pyro env build debian:12
pyro create debian:12 --name careful --allow index.example.net:443 --allow '*.files.example.net:443'
trap 'pyro delete careful' EXIT
pyro workspace network show careful

# What no rule names is refused at once, and the command's end says which flag would allow it.
pyro exec careful -- curl -sS --max-time 60 https://example.com/ && false
pyro exec careful -- curl -sS --max-time 60 http://169.254.169.254/latest/meta-data/ && false
pyro workspace network log careful | grep 'denied.*example.com.*--allow example.com'
pyro workspace network log careful | grep 'denied.*169.254.169.254'

# Rules are changed while it runs; here, taken away.
pyro workspace network set careful off
pyro workspace network show careful | grep 'network *off'
