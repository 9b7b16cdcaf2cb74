"""Runs a rival's main once a line comes on standard input: what takes many seconds to be imported is there by then. Usage: rival_ready.py MODULE ARGUMENT..."""
import importlib
import sys

rival = importlib.import_module(sys.argv[1])
if not sys.stdin.readline():
    sys.exit("nobody waits for it any more")
sys.argv = sys.argv[1:]
rival.main()
