"""Lets BasicSR 1.4.2 be built on Python 3.13 and later: `PYTHONPATH=build_support pip install --no-build-isolation …`.

BasicSR's ``setup.py`` runs ``exec(…)`` inside a function and finds what that made in ``locals()``. Since Python 3.13
`locals` is a copy to which `exec` adds nothing (PEP 667), so the build ends with ``KeyError: '__version__'``
(https://github.com/XPixelGroup/BasicSR/issues/725). Python imports a module of this name as it starts; here it makes
`exec` write where it wrote before. No file of BasicSR is changed, and nothing of this stays behind. Can go with a
BasicSR that builds by itself.
"""

import builtins
import importlib.machinery
import importlib.util
import sys
from pathlib import Path

exec_as_given = builtins.exec


def exec_into_caller(source, /, globals=None, locals=None, *, closure=None):
    """`exec`, whose names are added to the function that calls it, as before Python 3.13."""
    if globals is None:
        caller = sys._getframe(1)
        globals = caller.f_globals
        locals = caller.f_locals if locals is None else locals
    exec_as_given(source, globals, locals, closure=closure)


def run_hidden():
    """Runs the ``sitecustomize`` that this one hides, if the system has its own."""
    here = Path(__file__).parent
    elsewhere = [entry for entry in sys.path if Path(entry).resolve() != here.resolve()]
    hidden = importlib.machinery.PathFinder.find_spec("sitecustomize", elsewhere)
    if hidden is not None and hidden.loader is not None:
        hidden.loader.exec_module(importlib.util.module_from_spec(hidden))


if sys.version_info >= (3, 13):
    builtins.exec = exec_into_caller
run_hidden()
