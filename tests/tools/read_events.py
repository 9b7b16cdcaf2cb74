"""Reads TensorBoard event files against metrics.jsonl: with code of its own that checks every sum, and with TensorBoard's reader where it is installed.

  read_events.py RUN [--tensorboard]      --tensorboard: its reader must be there too
Prints "N steps, N scalars: equal" for each reader; exit code 1 and a line that says what differs if anything does.
"""
import json
import pathlib
import struct
import sys


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    at = 0
    while at < len(data):
        head = data[at:at + 12]
        length, head_crc = struct.unpack("<QI", head)
        body = data[at + 12:at + 12 + length]
        (body_crc,) = struct.unpack_from("<I", data, at + 12 + length)
        assert head_crc == masked(head[:8]), f"byte {at}: the length's sum is wrong"
        assert len(body) == length and body_crc == masked(body), f"byte {at}: the record's sum is wrong"
        yield body
        at += 16 + length


def fields(message):
    """(number, value) of a protocol buffer's fields; fixed ones as bytes."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
            continue
        size = {1: 8, 5: 4}.get(key & 7) or varint()
        yield key >> 3, message[at:at + size]
        at += size


def by_hand(path):
    """{step: {tag: value}} of one file."""
    events = [list(fields(r)) for r in records(path.read_bytes())]
    assert dict(events[0])[3] == b"brain.Event:2", "the first record names no version"
    steps = {}
    for event in events[1:]:
        step = dict(event).get(2, 0)
        assert step not in steps, f"step {step} is there twice"
        values = [dict(fields(value)) for _, value in fields(dict(event)[5])]
        steps[step] = {v[1].decode(): struct.unpack("<f", v[2])[0] for v in values}
    return steps


def by_tensorboard(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator, TENSORS

    accumulator = EventAccumulator(str(folder), size_guidance={TENSORS: 0})
    accumulator.Reload()
    steps = {}
    for tag in accumulator.Tags()["tensors"]:  # scalars, as its own loader gives them to its pages
        for event in accumulator.Tensors(tag):
            row = steps.setdefault(event.step, {})
            assert tag not in row, f"step {event.step}: {tag} is there twice"
            row[tag] = event.tensor_proto.float_val[0]
    for tag in accumulator.Tags()["scalars"]:
        for event in accumulator.Scalars(tag):
            row = steps.setdefault(event.step, {})
            assert tag not in row, f"step {event.step}: {tag} is there twice"
            row[tag] = event.value
    return steps


def compare(name, steps, run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    num = 0
    for line in lines:
        step = line.pop("step")
        expected = {k: struct.unpack("<f", struct.pack("<f", v))[0] for k, v in line.items() if isinstance(v, (int, float))}
        if steps.get(step) != expected:
            sys.exit(f"{name}: step {step} is {steps.get(step)}, not {expected}")
        num += len(expected)
    if len(steps) != len(lines):
        sys.exit(f"{name}: steps {sorted(steps)}, and metrics.jsonl has {len(lines)} lines")
    print(f"{name}: {len(steps)} steps, {num} scalars: equal")


def main():
    run = pathlib.Path(sys.argv[1])
    folder = run / "tensorboard"
    (path,) = folder.iterdir()
    assert "tfevents" in path.name
    compare("records", by_hand(path), run)
    if "--tensorboard" in sys.argv:
        compare("TensorBoard", by_tensorboard(folder), run)


if __name__ == "__main__":
    main()
