"""Writes the samples that the tests compare with: what PyYAML and Patroni 4.1.5 make of inputs.

Run in a virtual environment with `pip install 'patroni[etcd3]==4.1.5'`; writes beside itself.
"""
import datetime
import json
import math
import pathlib
import random

import yaml

HERE = pathlib.Path(__file__).parent


def plain(value):
    """Python values as our JSON values: dates, infinities and huge integers are texts, keys as JSON has them."""
    if isinstance(value, dict):
        return {key_text(k): plain(v) for k, v in value.items()}
    if isinstance(value, list):
        return [plain(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if isinstance(value, int):
        return value if -2**63 <= value < 2**64 else str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (datetime.date, datetime.datetime)):
        return str(value)
    raise TypeError(type(value))


def key_text(key):
    if isinstance(key, (datetime.date, datetime.datetime)) or isinstance(key, float) and not math.isfinite(key):
        return str(key)
    return key if isinstance(key, str) else json.dumps(key)


def write(name, rows):
    with open(HERE / name, "w", encoding="utf-8") as out:
        for row in rows:
            out.write(json.dumps(row, ensure_ascii=True) + "\n")
    print(name, len(rows))


SCALARS = """on off On OFF oN yes no Yes NO y n Y N true True TRUE tRue false False ~ null Null NULL nULL
0 1 -1 +1 00 01 0777 0o777 08 09 0644 0x1f 0X1F -0x1F 0xg 0b101 0b2 -0b11 1_000 1__0 _1 1_ 12_345_678
1:30 01:30 1:60 190:20:30 -1:30 1:2:3:4 0:0 1.5:3 190:20:30.15 1:30.5
1.0 1. .5 -.5 +.5 1e3 1E3 1.5e3 1.5e+3 1.5E-3 1.e+3 .5e+3 1.5e 1_0.5_0 1._ -1.5 +1.5 1.2.3 10.0.0.1 10.0.0.1:5432
.inf -.inf +.inf .Inf .INF .iNF .nan .NaN .NAN -.nan . .. ... - -- --- -a ? ?a : :a a: =  == << <<a
2001-12-14 2001-1-4 2001-12-14t21:59:43.10-05:00 2001-12-14T21:59:43Z 2001-12-14T21:59:43 2001-12-14T1:59:43+5
2001-12-14T21:59:43+05:30 2001-12-14T21:59 20011214 2001-12 12:30:45 9223372036854775807 9223372036854775808
18446744073709551616 -9223372036854775809 123456789012345678901234567890 1.7976931348623157e+308 1.0e+400 0.1 0.30000000000000004
5e-324 a,b a;b a#b #b @a `a %a !a &a *a |a >a 'a "a [a {a ]a }a ,a a' a" a[ a] a{ a} a& a* a! a| a> a% a@ a` a? a:b a:b:c
/var/lib/postgresql host:5432 http://10.0.0.1:8008/patroni postgres://u:p@h:5432/db?x=y%20z 128MB 16kB 10s %(asctime)s
é ü 日本語 😀 \\ a\\b $PATH ${X} 100% 5% x-y x_y""".split()

PHRASES = [
    "2001-12-14 21:59:43.10 -5", "2001-12-15 2:59:43", "host all all 0.0.0.0/0 scram-sha-256", "a b", "a  b", " a", "a ", "",
    "a: b", "a :b", "a #b", "a# b", "# a", "- a", "? a", ": a", "a, b", "[a]", "{a}", "{a: b}", "[a, b]", "a\nb", "a\nb\n",
    "a\n\nb", "\na", "a \nb", "a\n b", "\n", "\n\n", " \n", "a\tb", "\ta", "a\rb", "a\x07b", "a\x85b", "a\u2028b", "\ufeffa",
    "\u00a0", "\u00ad", "x\U0001f600y", "\U0010fffe", "\ue000", "\x7f", "\x9f", "it's", 'say "hi"', "it's \"both\"", "'", "''", '"',
    "it's\nbroken", "--- a", "---", "... a", "...", "!tag x", "&anchor", "*alias", "| x", "> x", "% x", "@x", "`x`",
    "cp %p /archive/%f", "test ! -f /mnt/server/archivedir/%f && cp %p /mnt/server/archivedir/%f",
    "aws s3 cp --only-show-errors s3://bucket/a/very/long/path/that/does/not/end/soon/%f %p || exit 1; echo 'done' # comment",
    "word " * 40, ("word " * 40).strip(), "w" * 130, "w" * 122, "w" * 123, "é" * 90, ("é" * 10 + " ") * 15, ("it's " * 30).strip(),
    ('"q" ' * 30).strip(), ("a\\b " * 30).strip(), ("x: y " * 30).strip(), ("x # y  " * 20).strip(), "a" * 79 + " b c", "a" * 80 + " b  c d",
    ("tab\t" * 30), ("line one is long enough to be folded somewhere near here, yes it is\n" * 4), ("short\n" * 3) + ("long " * 30),
    "\u65e5\u672c\u8a9e " * 40, "x\x00y", "trailing colon:", "trailing space colon :", "a?b", "a ?b", "~ a", "null ", "12 ", "+1-2",
]


def value_samples(rng):
    texts = SCALARS + PHRASES
    samples = [t for t in texts]
    samples += [[t] for t in texts] + [{"k": t} for t in texts] + [{t: 1} for t in texts]
    samples += [{"a": {"b": [t, [t, {"c": t}], {"d": [t]}]}} for t in texts]
    samples += [None, True, False, 0, -1, 2**63 - 1, 2**64 - 1, 0.1, 1.0, -0.0, 1e16, 1e15, 1e-5, 1.5e-7, 1e300, 123456789.123456789,
                [], {}, [[]], [{}], {"a": []}, {"a": {}}, [[], []], [[[1]]], [{"a": 1, "b": 2}, {"c": [1, 2]}], {"a": [[1, 2], [3]]},
                {"": 1}, {"b": 1, "a": 2, "B": 3, "_": 4, "é": 5, "1": 6, "10": 7, "2": 8}]

    def value(depth):
        kind = rng.random()
        if depth == 0 or kind < 0.45:
            if rng.random() < 0.75:
                pick = rng.choice(texts)
                return pick if rng.random() < 0.6 else pick + rng.choice([" ", "\n", "x", ": ", "'", '"', "\u00e9"]) + rng.choice(texts)
            return rng.choice([None, True, False, rng.randrange(-10**6, 10**6), rng.random() * 10**rng.randrange(-20, 20)])
        if kind < 0.7:
            return [value(depth - 1) for _ in range(rng.randrange(4))]
        return {rng.choice(texts): value(depth - 1) for _ in range(rng.randrange(5))}

    samples += [value(rng.randrange(1, 5)) for _ in range(500)]
    return samples


def dump_rows(rng):
    rows = []
    for value in value_samples(rng):
        row = {"value": value}
        row["block"] = yaml.safe_dump(value, default_flow_style=False, allow_unicode=True)
        row["wide"] = yaml.safe_dump(value, default_flow_style=False, allow_unicode=True, width=200)
        row["ascii"] = yaml.safe_dump(value, default_flow_style=False)
        row["unsorted"] = yaml.safe_dump(value, default_flow_style=False, sort_keys=False, allow_unicode=True)
        row["flow"] = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True)
        rows.append(row)
    return rows


DOCUMENTS = [
    "", "   \n", "# only a comment\n", "---\n", "---\n...\n", "--- a\n", "a: 1\n...\n", "%YAML 1.1\n---\na: on\n",
    "a: 1\nb: 2\na: 3\n", "a:\nb: 1\n", "a:\n- 1\n- 2\nb:\n  - 3\n", "- - 1\n  - 2\n- a: 1\n  b: 2\n-\n- c\n", "{a: 1, b: [2, {c: 3}], d}\n",
    "{a:1, b: 2}\n", "[a:1, b:2, 'c:3', \"d\": 4]\n", "[a, b,]\n", "{a, b: }\n", "{\"a\":1}\n", "['a:1','b:2']\n", "[host1:2379,host2:2379]\n",
    "a: |\n  one\n   two\n\n  three\nb: >\n  one\n  two\n\n  three\n   four\nc: |-\n  x\nd: |+\n  x\n\ne: >-\n  x\n  y\n",
    "a: |2\n   x\n  y\n", "a: 'one\n  two\n\n  three'\nb: \"one\n  two \\\n  three\\n\\t\\x41\\u00e9\\U0001F600\"\nc: one\n  two\n\n  three\n",
    "a: &x\n  b: 1\n  c: &y [1, 2]\nd: *x\ne: *y\nf:\n  <<: *x\n  c: 3\n  d: 4\n", "base: &b {host: h, port: 1}\nx: {<<: *b, port: 2}\ny:\n  port: 3\n  <<: *b\n",
    "a: &a {k: 1}\nb: {<<: [*a, {m: 2}], n: 3}\n", "'<<': 1\na: {\"<<\": {x: 1}}\n", "a: !!str 123\nb: !!int \"0x1f\"\nc: !!float 1\nd: !!bool 'yes'\ne: !!null x\nf: !!str\n",
    "a: ! 12\nb: !!map {x: 1}\nc: !!seq [1]\nd: !!timestamp '2001-12-14'\n", "? a\n: b\n? c\n", "? |\n  key\n: v\n", "a: b # comment\nc: d#not\n#x\ne: 'f' # g\n",
    "a : b\n\"c\" : d\n'e': f\n", "a:    b   \n", "key with spaces: value with spaces\n", "- a\n-   b\n-\n  c\n- - d\n", "a:\n    b:\n        c: 1\n    d: 2\n",
    "on: 1\nno: 2\n3: 3\n~: 4\n1.5: 5\n0x10: 6\n", "a: -\n", "a: - b\n", "a: [\n1,\n2\n]\n", "a: {\n  b: 1\n}\n", "a: \"\\/\"\n", "a: 'it''s'\n", "a: \"x\\ty\"\n",
    "a: %b\n", "a: @b\n", "a: `b\n", "a: b: c\n", "a: [b\n", "a: {b\n", "a: 'b\n", "a: \"b\n", "a\nb: 1\n", "a: 1\n b: 2\n", "a:\n- b\n c\n", "- a\nb: 1\n",
    "a: *nope\n", "a: !foo b\n", "a: !!foo b\n", "a: 1\n---\nb: 2\n", "[a]: 1\n", "{a: 1}: 2\n", "a: =\n", "a: <<\n", "=: 1\n", "<<: 1\n", "<<: [1]\n", "a: 2001-13-45\n",
    "a: 2001-02-30\n", "a: 2001-12-14 25:00:00\n", "a: 2001-12-14 21:59:43 +25\n", "a: 0b_\n", "\tb: 1\n", "a:\n\tb: 1\n", "a: b\tc\n", "a:\tb\n", "- \ta\n", "a: x\x01y\n", "\ufeffa: 1\n",
    "a: 1\r\nb: 2\r\n", "a: 'x\r\n  y'\r\n", "a: \u00e9\n", "a: b\u2028c\n", "a: ,b\n", "a: b,c\n", "a: [b c, d  e]\n", "a: [b, # x\n c]\n", "a: b #\n", "a: ' # '\n", "a: b\n  # c\n  d: e\n",
    "archive_command: 'test ! -f /a/%f && cp %p /a/%f'\n", "x: *a\n", "&a b: 1\nc: *a\n", "&a b: 1\n*a : 2\n", "a: &b\nc: *b\n", "a: &b &c d\n", "a: !!str &b c\nd: *b\n",
    "a: ''\nb: \"\"\nc:\n", "a: |\nb: 1\n", "a: >\n\nb: 1\n", "a: |\n  \n  x\n", "a: |\n  x\n \n", "--- |\n x\n", "--- >\n x\n y\n", "- |\n x\n-  y\n", "a: - 1\n", "a: ? b\n", "a: b ? c\n", 
    "a: [-1, -b, - c]\n", "a: ::1\nb: [::1]\n", "a: [x::y]\n", "a: {x: http://h:1/p, y: h:1}\n", "a: [a:,b]\n", "a: 'b' c\n", "a: \"b\" c\n", "a: [1, 2] c\n", "a: >2\n    x\n", "a: 1 2\n", "a: b\n\nc: d\n\n\n", "   a: 1\n   b: 2\n", " a: 1\nb: 2\n",
    "a: \"multi\n\n\n  line\"\n", "a: 'multi\n\n\n  line'\n", "a: multi\n\n\n  line\n", "a:\n  multi\n  line\nb: 1\n", "a: \"\\\n  x\"\n", "a: \"x \\\n\n  y\"\n", "a: \"\\q\"\n", "a: \"\\x4\"\n", "a: x\n...\nb: 1\n", "a: --- b\n", "a: ---\n", "---a: 1\n",
    "scope: demo\nname: n1\nrestapi:\n  listen: 0.0.0.0:8008\n  connect_address: 10.0.0.1:8008\npostgresql:\n  parameters:\n    archive_mode: on\n    wal_log_hints: \"on\"\n    archive_timeout: 1800s\n    log_file_mode: 0640\n    work_mem: 4MB\n",
]


# Where the parser below differs, and no configuration is: a question mark or a lone dash in flow style, exotic breaks.
SKIPPED = {"?", "?a", "-", "&a", "&anchor", "\ufeffa"}


def hand_written(rng):
    """Documents in the styles that people use: mixed indentation, comments, block scalars, flow over lines."""
    words = ["a", "listen", "pg_hba", "x-y", "on", "1", "md5", "host all all 0.0.0.0/0 md5", "it's", "10.0.0.1:5432", "%p", "C.UTF-8"]

    def comment():
        return rng.choice(["", "", "", "  # why", " # a: b", " #"])

    def scalar(indent):
        word = rng.choice(words)
        style = rng.randrange(8)
        if style < 3:
            return word
        if style == 3:
            return "'" + word.replace("'", "''") + "'"
        if style == 4:
            return json.dumps(word)
        pad = " " * (indent + rng.randrange(1, 5))
        lines = [rng.choice(["", "  "]) * (i > 0) + rng.choice(words) for i in range(rng.randrange(1, 4))]
        if style == 5:
            gap = rng.choice(["\n", "\n\n"])
            return rng.choice("|>") + rng.choice(["", "-", "+"]) + "\n" + gap.join(pad + line for line in lines) + rng.choice(["", "\n"])
        if style == 6:
            return '"' + ("\n" + rng.choice([pad, "", " "])).join(w.replace('"', "") for w in lines) + '"'
        return ("\n" + pad).join(["w"] + [w for w in lines if w.strip().isalpha()])

    def flow(depth):
        gap = rng.choice(["", " ", "\n", "\n    ", "\n  # c\n"])
        if rng.random() < 0.5:
            items = [rng.choice(words[:7]) if depth == 0 or rng.random() < 0.6 else flow(depth - 1) for _ in range(rng.randrange(4))]
            return "[" + gap + ("," + (gap or " ")).join(items) + (rng.choice(["", ","]) if items else "") + gap + "]"
        items = [f"k{i}: " + (rng.choice(words[:7]) if depth == 0 or rng.random() < 0.6 else flow(depth - 1)) for i in range(rng.randrange(4))]
        return "{" + gap + ("," + (gap or " ")).join(items) + gap + "}"

    def block(indent, depth):
        pad, out = " " * indent, []
        listing = rng.random() < 0.35
        for i in range(rng.randrange(1, 4)):
            if rng.random() < 0.1:
                out.append(rng.choice(["", "# note", pad + "# note"]))
            head = pad + ("-" if listing else f"key{i}" + rng.choice([":", ":", " :"]))
            kind = rng.random()
            if depth and kind < 0.4:
                deeper = indent + rng.randrange(1, 5)
                if not listing and rng.random() < 0.2:
                    out.append(head + comment())
                    out.append("\n".join(f"{pad}- item{j}" for j in range(2)))
                else:
                    out.append(head + comment())
                    out.append(block(deeper, depth - 1))
            elif kind < 0.55:
                out.append(head + rng.choice([" ", "  "]) + flow(2))
            else:
                text = scalar(indent)
                out.append(head + " " + text + ("" if "\n" in text or text.startswith("w") else comment()))
        return "\n".join(out)

    return [block(rng.choice([0, 0, 2]), 3) + rng.choice(["", "\n"]) for _ in range(900)]


def load_rows(rng):
    texts = DOCUMENTS + hand_written(rng)
    for scalar in SCALARS + PHRASES:
        if "\x00" not in scalar and scalar not in SKIPPED:
            texts += [scalar + "\n", f"a: {scalar}\n", f"- {scalar}\n", f"[{scalar}]\n", f"{{a: {scalar}}}\n", f"{{{scalar}: a}}\n", f"{scalar}: a\n", f"[x, {scalar}, y]\n"]
    texts += [yaml.safe_dump(v, default_flow_style=rng.choice([True, False]), allow_unicode=rng.random() < 0.5, sort_keys=False) for v in value_samples(rng)[-300:]]
    rows = []
    for text in dict.fromkeys(t for t in texts if "\x85" not in t and "\u2028" not in t):
        row = {"text": text}
        try:
            row["value"] = plain(yaml.safe_load(text))
        except Exception as e:
            row["error"] = type(e).__name__
        rows.append(row)
    return rows


def main():
    write("dump.jsonl", dump_rows(random.Random(1)))
    write("load.jsonl", load_rows(random.Random(2)))


if __name__ == "__main__":
    main()
