"""Reads the event file of a run, independently of the program that wrote it: TFRecord framing with its checksums and
the few protocol-buffer fields of TensorBoard's scalars. Standard library only.

Prints one JSON object: for each curve its steps and values, in the order of the file. Exit status 1 where anything is not as
it must be.
"""

import json
import math
import pathlib
import struct
import sys


class Damaged(Exception):
    """The file breaks the format."""


def crc32c(data):
    """CRC-32C, reflected, one bit at a time."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def unmasked(checksum):
    """The checksum that was stored masked."""
    rotated = (checksum - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated << 15 | rotated >> 17) & 0xFFFFFFFF


def records(data):
    """The contents of all records."""
    while data:
        if len(data) < 12:
            raise Damaged("a record's head is cut")
        length, head = struct.unpack("<QI", data[:12])
        if unmasked(head) != crc32c(data[:8]):
            raise Damaged("the checksum of a length")
        content, tail, data = data[12 : 12 + length], data[12 + length : 16 + length], data[16 + length :]
        if len(tail) < 4 or unmasked(struct.unpack("<I", tail)[0]) != crc32c(content):
            raise Damaged("the checksum of a record")
        yield content


def varint(data):
    """A number of seven bits a byte, and what follows it."""
    value = shift = 0
    for index, byte in enumerate(data):
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, data[index + 1 :]
    raise Damaged("a number is cut")


def fields(data):
    """Number and content of the fields of a message."""
    while data:
        key, data = varint(data)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, data = varint(data)
        elif kind == 2:
            length, data = varint(data)
            value, data = data[:length], data[length:]
        elif kind in (1, 5):
            size, form = (8, "<d") if kind == 1 else (4, "<f")
            value, data = struct.unpack(form, data[:size])[0], data[size:]
        else:
            raise Damaged(f"a field of kind {kind}")
        yield number, value


def curves(data):
    """Steps and values by name."""
    found, events = {}, 0
    for events, record in enumerate(records(data), 1):
        numbers = dict(fields(record))
        step = numbers.get(2, 0)
        if not numbers[1] > 1.5e9:
            raise Damaged("an event has no time")
        if events == 1 and numbers.get(3) != b"brain.Event:2":
            raise Damaged("the file does not begin with its version")
        for value in (value for number, value in fields(numbers.get(5, b"")) if number == 1):
            parts = dict(fields(value))
            if not math.isfinite(parts[2]):
                raise Damaged("a value is no number")
            found.setdefault(parts[1].decode(), []).append([step, parts[2]])
    if not events:
        raise Damaged("the file is empty")
    return found


def main():
    """Reads the only event file in a folder."""
    files = list(pathlib.Path(sys.argv[1]).glob("events.out.tfevents.*"))
    if len(files) != 1:
        sys.exit(f"{len(files)} event files in {sys.argv[1]}")
    try:
        print(json.dumps(curves(files[0].read_bytes())))
    except Damaged as error:
        sys.exit(f"{files[0]}: {error}")


if __name__ == "__main__":
    main()
