"""Lets a program outside import localprompt and what it needs: its own packages come first. Import it first."""

from __future__ import annotations

import os
import sys

sys.path.append(os.environ["INSIDE_ROOT"])
sys.path.append(os.environ["INSIDE_PACKAGES"])
# The engine's own process needs nothing else.
os.environ["PYTHONPATH"] = os.pathsep.join([os.environ["INSIDE_ROOT"], os.environ["INSIDE_PACKAGES"]])
