#!/bin/sh
# A bug is reproduced in a workspace, fixed there, and only the fix comes home.
#
#   examples/use-cases/repro-and-fix/run.sh
#
# Any line below may be pasted into a shell; without the next one, where pyro is in PATH.
pyro() { command "${PYRO:-pyro}" "$@"; }
set -eux

# A project with a bug, on this machine.
project=$(mktemp -d)
trap 'pyro delete fix; rm -rf "$project"' EXIT
cat > "$project/cart.py" <<'PYTHON'
def total(prices):
    return sum(prices[1:])
PYTHON
cat > "$project/test_cart.py" <<'PYTHON'
import unittest
from cart import total

class Cart(unittest.TestCase):
    def test_everything_counts(self):
        self.assertEqual(total([1, 2, 3]), 6)
PYTHON

# The workspace begins with a copy. The test fails there as it does here, and what it leaves is no matter.
pyro env build debian:12
pyro create debian:12 --name fix --seed-path "$project"
pyro exec fix -- python3 -B -m unittest && false
pyro snapshot create fix failing

# A fix, as a model writes it: no line numbers. All of it is applied, or nothing.
pyro patch apply fix --patch-file - <<'PATCH'
--- a/cart.py
+++ b/cart.py
@@
 def total(prices):
-    return sum(prices[1:])
+    return sum(prices)
PATCH
pyro exec fix -- python3 -B -m unittest

# What was changed, to read before it comes home; and what would become of each file here.
pyro diff fix
pyro sync pull fix --to "$project" --check
pyro sync pull fix --to "$project"
grep 'sum(prices)' "$project/cart.py"

# The failing state is still there, for whoever wants to see it fail.
pyro reset fix --snapshot failing
pyro exec fix -- python3 -B -m unittest && false
true
