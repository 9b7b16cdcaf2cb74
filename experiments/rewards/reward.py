#!/usr/bin/env python3
"""A reward in Python: how much of the label the completion has right from its start, with the number of vowels as a further component."""
import json
import os
import sys

for line in sys.stdin:
    request = json.loads(line)
    said, label = request["completion"], request["label"] or ""
    right = len(os.path.commonprefix([said, label]))
    reward = right / max(len(said), len(label), 1)
    answer = {"id": request["id"], "reward": reward, "components": {"vowels": sum(letter in "aeiou" for letter in said)}}
    print(json.dumps(answer), flush=True)
