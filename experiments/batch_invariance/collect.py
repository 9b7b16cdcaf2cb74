"""collect.py FOLDER: what row_alone and pytorch.py counted (FOLDER/ours.jsonl, vendor.jsonl, pytorch.jsonl), as rows and values of the experiment."""
import json
import pathlib
import sys

SIDES = {"ours": "ours", "vendor": "vendor", "pytorch": "PyTorch"}


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def span(numbers):
    return " ".join(str(n) for n in sorted(set(numbers)))


def tell(**entry):
    print(json.dumps(entry))


def main():
    folder = pathlib.Path(sys.argv[1])
    counted = {side: read(folder / f"{side}.jsonl") for side in SIDES}
    for operation in dict.fromkeys(line["operation"] for line in counted["ours"]):
        row = {"operation": operation}
        for side, name in SIDES.items():
            lines = [line for line in counted[side] if line["operation"] == operation]
            if side == "ours":
                row |= {"rows in the batch": span(line["rows"] for line in lines), "length of a sum": span(line["length"] for line in lines)}
            elements, differing = (sum(line[key] for line in lines) for key in ("elements", "differing"))
            if lines:
                row[f"differ, {name}"] = f"{differing:,} of {elements:,}"
                if "sampler" not in operation:  # which PyTorch has not: for the picture
                    tell(row="by operation", has={"operation": operation, "arithmetic": name, "percent": round(100 * differing / elements, 2)})
            elif side == "pytorch":
                row[f"differ, {name}"] = "not run"
        if not counted["pytorch"]:
            row.pop("differ, PyTorch", None)
        tell(row="rows", has=row)
    if counted["pytorch"]:
        tell(value="version of PyTorch", **{"is": counted["pytorch"][0]["version"]})
    for side, name in SIDES.items():
        if counted[side]:
            tell(value=f"elements compared, {name}", **{"is": sum(line["elements"] for line in counted[side])})
            tell(value=f"elements that differ, {name}", **{"is": sum(line["differing"] for line in counted[side])})


if __name__ == "__main__":
    main()
