"""Reads one object of an archive as the description of WAL-G's layout says, with nothing of jogi's code.

    walg_reader.py FILE [KEY_IN_HEX]      the content goes to standard output

Decryption (libsodium's secretstream) and lz4 frames are done here, by hand; lzma by Python's own library. Anything that
a strict reader would not accept is an error.
"""

import lzma
import struct
import sys

M32 = 0xFFFFFFFF


def need(condition, what):
    if not condition:
        sys.exit("not as described: " + what)


# --- XChaCha20-Poly1305 secretstream --------------------------------------------------------------------------------

def quarter(s, a, b, c, d):
    for x, y, z, n in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        s[x] = (s[x] + s[y]) & M32
        v = s[z] ^ s[x]
        s[z] = ((v << n) | (v >> (32 - n))) & M32


def rounds(state):
    s = list(state)
    for _ in range(10):
        for q in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
                  (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(s, *q)
    return s


SIGMA = struct.unpack("<4I", b"expand 32-byte k")


def block(key, nonce, counter):
    state = SIGMA + struct.unpack("<8I", key) + (counter,) + struct.unpack("<3I", nonce)
    return struct.pack("<16I", *((a + b) & M32 for a, b in zip(state, rounds(state))))


def hchacha(key, nonce):
    s = rounds(SIGMA + struct.unpack("<8I", key) + struct.unpack("<4I", nonce))
    return struct.pack("<8I", *(s[:4] + s[12:]))


def xor(data, key, nonce, counter):
    out = bytearray()
    for at in range(0, len(data), 64):
        piece = data[at:at + 64]
        stream = block(key, nonce, counter)
        counter += 1
        out += bytes(a ^ b for a, b in zip(piece, stream))
    return bytes(out)


def poly1305(key, message):
    r = int.from_bytes(key[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s, total, p = int.from_bytes(key[16:], "little"), 0, (1 << 130) - 5
    for at in range(0, len(message), 16):
        total = (total + int.from_bytes(message[at:at + 16] + b"\1", "little")) * r % p
    return ((total + s) & ((1 << 128) - 1)).to_bytes(16, "little")


def decrypt(data, key):
    need(len(data) >= 24, "an encrypted object has a header of 24 bytes")
    subkey, inner, counter, at, out = hchacha(key, data[:16]), data[16:24], 1, 24, []
    while True:
        sealed = data[at:at + 8192 + 17]
        at += len(sealed)
        need(len(sealed) >= 17, "it ends before the FINAL chunk")
        nonce = struct.pack("<I", counter) + inner
        tag = xor(sealed[:1], subkey, nonce, 1)
        text, mac = sealed[1:-16], sealed[-16:]
        # The block of the tag is authenticated as it stands encrypted, but for its first byte.
        whole = sealed[:1] + xor(bytes(64), subkey, nonce, 1)[1:] + text
        padding = bytes((0x10 - 64 + len(text)) & 0xF)
        sizes = struct.pack("<QQ", 0, 64 + len(text))
        mac_key = block(subkey, nonce, 0)[:32]
        found = poly1305(mac_key, whole + padding + sizes)
        need(found == mac, "a chunk is authentic")
        out.append(xor(text, subkey, nonce, 2))
        inner = bytes(a ^ b for a, b in zip(inner, mac))
        counter += 1
        if tag[0] == 3:
            need(len(text) < 8192, "the FINAL chunk is shorter than the others")
            need(at == len(data), "nothing follows the FINAL chunk")
            return b"".join(out)
        need(tag[0] == 0 and len(text) == 8192, "a MESSAGE chunk is a full one")


# --- lz4 frame ------------------------------------------------------------------------------------------------------

P1, P2, P3, P4, P5 = 2654435761, 2246822519, 3266489917, 668265263, 374761393


def rotate(value, n):
    return ((value << n) | (value >> (32 - n))) & M32


def xxh32(data):
    n, at = len(data), 0
    if n >= 16:
        a, b, c, d = (P1 + P2) & M32, P2, 0, (-P1) & M32
        for w, x, y, z in struct.iter_unpack("<4I", data[:n - n % 16]):
            a = rotate((a + w * P2) & M32, 13) * P1 & M32
            b = rotate((b + x * P2) & M32, 13) * P1 & M32
            c = rotate((c + y * P2) & M32, 13) * P1 & M32
            d = rotate((d + z * P2) & M32, 13) * P1 & M32
        at = n - n % 16
        h = (rotate(a, 1) + rotate(b, 7) + rotate(c, 12) + rotate(d, 18)) & M32
    else:
        h = P5
    h = (h + n) & M32
    while at + 4 <= n:
        h = rotate((h + struct.unpack_from("<I", data, at)[0] * P3) & M32, 17) * P4 & M32
        at += 4
    for byte in data[at:]:
        h = rotate((h + byte * P5) & M32, 11) * P1 & M32
    h = (h ^ (h >> 15)) * P2 & M32
    h = (h ^ (h >> 13)) * P3 & M32
    return h ^ (h >> 16)


def lz4_block(data):
    out, at = bytearray(), 0

    def length(nibble):
        nonlocal at
        total = nibble
        while nibble == 15:
            total += data[at]
            at += 1
            if data[at - 1] != 255:
                break
        return total

    while True:
        token = data[at]
        at += 1
        count = length(token >> 4)
        out += data[at:at + count]
        at += count
        if at == len(data):
            return bytes(out)
        offset = data[at] | data[at + 1] << 8
        at += 2
        count = length(token & 15) + 4
        need(0 < offset <= len(out), "a match lies within its block")
        while count:
            start = len(out) - offset
            piece = out[start:start + min(count, offset)]
            out += piece
            count -= len(piece)


def lz4_frame(data):
    need(data[:7] == bytes.fromhex("04224d186470b9"), "an lz4 object begins 04 22 4d 18 64 70 b9")
    at, out = 7, []
    while True:
        size = struct.unpack_from("<I", data, at)[0]
        at += 4
        if size == 0:
            break
        stored = size & 0x7FFFFFFF
        piece = data[at:at + stored]
        out.append(piece if size >> 31 else lz4_block(piece))
        need(len(out[-1]) <= 4 << 20, "a block holds at most 4 MiB")
        at += stored
    content = b"".join(out)
    need(struct.unpack_from("<I", data, at)[0] == xxh32(content), "the checksum of the content")
    need(at + 4 == len(data), "exactly one frame")
    return content


def lzma_alone(data):
    need(data[:13] == bytes.fromhex("5d00008000ffffffffffffffff"), "the header of the lzma stream")
    reader = lzma.LZMADecompressor(format=lzma.FORMAT_ALONE)
    content = reader.decompress(data)
    need(reader.eof and not reader.unused_data, "exactly one lzma stream, with its end")
    return content


def main():
    path = sys.argv[1]
    with open(path, "rb") as file:
        data = file.read()
    if len(sys.argv) > 2:
        data = decrypt(data, bytes.fromhex(sys.argv[2]))
    if path.endswith(".lz4"):
        data = lz4_frame(data)
    elif path.endswith(".lzma"):
        data = lzma_alone(data)
    else:
        need("." not in path.rsplit("/", 1)[1].replace(".history", ""), "an extension that this reader knows")
    sys.stdout.buffer.write(data)


main()
