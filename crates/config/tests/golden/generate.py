"""Writes the samples that the tests compare with: what PyYAML and Patroni 4.1.5 make of inputs.

Run in a virtual environment with `pip install 'patroni[etcd3]==4.1.5' 'psycopg[binary]'`; writes beside itself.
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


PATRONI_VERSIONS = [100000, 110000, 120000, 130000, 140005, 150002, 160000, 170000, 180000]


def unit_rows(rng):
    from patroni import utils
    numbers = ["0", "1", "-1", "25", "100", "1024", "4097.4", "4097.5", "0.5", "1.5", "2.5", ".5", "5.", "1e3", "1.5e-3", "0x10", "010", "08", "007", "+5",
               "99999999999", "", "x", " 5 ", "-070", "1_000", "--1", "0x", "1e", "0.00051", "123456.789"]
    units = ["", "B", "kB", "MB", "GB", "TB", "us", "ms", "s", "min", "h", "d", " kB", "KB", "m"]
    bases = [None, "B", "kB", "8kB", "MB", "16MB", "2MB", "16384kB", "ms", "s", "min", "GB", "nonsense"]
    rows = []
    for _ in range(500):
        text, base = rng.choice(numbers) + rng.choice(units), rng.choice(bases)
        rows.append(["int", text, base, utils.parse_int(text, base)])
        rows.append(["real", text, base, utils.parse_real(text, base)])
        vartype = rng.choice(["integer", "real", "bool", "string", "enum"])
        value = rng.choice([t for t in numbers if t.strip()])
        rows.append(["human", value, vartype, base, utils.maybe_convert_from_base_unit(value, vartype, base)])
        other = rng.choice([rng.choice(numbers) + rng.choice(units), rng.choice(["on", "OFF", "true", "no"]), rng.randrange(3000), True, 1.5])
        setting = rng.choice(numbers + ["on", "off", "On", "1MB"])
        rows.append(["same", setting, vartype, base, other, utils.compare_values(vartype, base, setting, other)])
    return rows


def rule_rows(rng):
    from patroni.collections import CaseInsensitiveSet
    from patroni.postgresql import validator
    known = CaseInsensitiveSet(["some_new_thing"])
    names = list(validator.parameters) + ["some_new_thing", "some_old_thing", "ext.x", "restore_command", "DATESTYLE"]
    values = ["on", "off", True, False, 0, 1, -1, -5, "10", 10**10, "1kB", "16MB", "512GB", "10s", "5min", "2d", 0.5, -0.5, "1e5", "always", "replica", "none", "x", "",
              "ISO", "debug1", "auto", "pglz", None, ["a"]]
    rows = []
    for name in names:
        for _ in range(6):
            version, value = rng.choice(PATRONI_VERSIONS), rng.choice(values)
            result = validator.transform_postgresql_parameter_value(version, name, value, known)
            rows.append(["server", version, name, value, None if result is None else str(result)])
    for name in list(validator.recovery_parameters) + ["work_mem"]:
        for _ in range(12):
            version, value = rng.choice(PATRONI_VERSIONS), rng.choice(values + ["immediate", "pause", "shutdown"])
            result = validator.transform_recovery_parameter_value(version, name, value, known)
            rows.append(["recovery", version, name, value, None if result is None else str(result)])
    return rows


def conninfo_rows(rng):
    import types
    from patroni.postgresql.config import ConfigHandler, _conninfo_parse
    keys = ["dbname", "user", "passfile", "password", "host", "port", "sslmode", "sslcompression", "sslcert", "sslkey", "sslpassword", "sslrootcert", "sslcrl", "sslcrldir",
            "application_name", "krbsrvname", "gssencmode", "channel_binding", "target_session_attrs", "sslnegotiation", "unknown"]
    values = ["a", "it's", "a b", "a\\b", "10.0.0.1,10.0.0.2", "prefer", "é", "x=y", ""]
    rows = []
    for _ in range(250):
        params = {k: rng.choice(values) for k in rng.sample(keys, rng.randrange(1, 9))}
        version = rng.choice(PATRONI_VERSIONS)
        handler = types.SimpleNamespace(_postgresql=types.SimpleNamespace(major_version=version))
        dsn = ConfigHandler.format_dsn(handler, params)
        rows.append(["dsn", version, params, dsn])
        content = ConfigHandler._pgpass_content({k: v for k, v in params.items() if k in ("host", "port", "user", "password")})
        rows.append(["pgpass", params, content])
        if all(params.values()):
            rows.append(["parse", dsn, _conninfo_parse(dsn)])
    for text in ["postgresql://foo/postgres", "postgres://u:p@h:1/db", "postgres://u%40x@[::1]:5433,b/db?sslmode=require&application_name=a%20b", "postgres://", "host = 'a b' port=1",
                 "host=a\\ b", "host='a\\'b'", "a", "a=", "=a", "host=a port", "requiressl=1", "requiressl=0 sslmode=require", " ", "host='a", "host=a\tport=5\n", "HOST=a"]:
        rows.append(["parse", text, _conninfo_parse(text)])
    return rows


def dynamic_rows(rng):
    from patroni.ctl import apply_config_changes
    from patroni.utils import patch_config

    def value(depth):
        if depth and rng.random() < 0.6:
            return {rng.choice("abcd"): value(depth - 1) for _ in range(rng.randrange(4))}
        return rng.choice([None, 1, "1", 1.0, "1.0", True, "True", "on", [1], "[1]", ["a"], {}, "x"])

    rows = []
    for _ in range(600):
        config, data = value(3), value(3)
        if isinstance(config, dict) and isinstance(data, dict):
            result = json.loads(json.dumps(config))
            changed = patch_config(result, data)
            rows.append(["patch", config, data, changed, result])
    paths = ["a", "a.b", "a.b.c", "postgresql.parameters.x", "postgresql.parameters.x.y", "postgresql.use_pg_rewind", "b", " a.d "]
    for _ in range(200):
        config = {k: v for k, v in {"a": value(2), "postgresql": {"parameters": {"x": 1}}}.items() if v is not None}
        pairs = [rng.choice(paths) + "=" + rng.choice(["1", "null", "", "on", "{x: 1}", "[1, 2]", "'1'", " 2"]) for _ in range(rng.randrange(1, 4))]
        rows.append(["set", config, pairs, apply_config_changes("", config, pairs)[1]])
    return rows


def environment_rows(rng):
    import os
    from patroni.config import Config
    names = """NAME SCOPE NAMESPACE THREAD_POOL_SIZE LOGLEVEL LOG_LEVEL LOG_FORMAT LOG_MODE LOG_FILE_NUM LOG_LOGGERS LOG_STATIC_FIELDS LOG_DEDUPLICATE_HEARTBEAT_LOGS LOG_DATEFMT
    RESTAPI_LISTEN RESTAPI_ALLOWLIST RESTAPI_ALLOWLIST_INCLUDE_MEMBERS RESTAPI_HTTP_EXTRA_HEADERS RESTAPI_REQUEST_QUEUE_SIZE RESTAPI_USERNAME RESTAPI_PASSWORD RESTAPI_SERVER_TOKENS
    CTL_INSECURE CTL_CACERT CTL_USERNAME POSTGRESQL_LISTEN POSTGRESQL_BIN_PG_CTL POSTGRESQL_DATA_DIR SUPERUSER_USERNAME SUPERUSER_SSLMODE REPLICATION_PASSWORD REWIND_USERNAME
    ETCD3_HOST ETCD3_HOSTS ETCD3_PORT ETCD3_USERNAME ETCD3_PASSWORD ETCD3_USE_PROXIES ETCD3_URL ETCD_USERNAME CONSUL_HOST CONSUL_VERIFY CONSUL_CHECKS CONSUL_TOKEN CONSUL_SCHEME
    CONSUL_REGISTER_SERVICE ZOOKEEPER_HOSTS ZOOKEEPER_USE_SSL ZOOKEEPER_SET_ACLS ZOOKEEPER_AUTH_DATA KUBERNETES_LABELS KUBERNETES_PORTS KUBERNETES_USE_ENDPOINTS KUBERNETES_POD_IP
    KUBERNETES_BOOTSTRAP_LABELS KUBERNETES_RETRIABLE_HTTP_CODES RAFT_SELF_ADDR RAFT_PARTNER_ADDRS RAFT_PASSWORD CITUS_GROUP CITUS_DATABASE CITUS_HOST FOO_HOST HOST FOO_BAR UNKNOWN
    EXHIBITOR_HOSTS EXHIBITOR_PORT""".split()
    values = ["x", "on", "off", "1", "0", "0644", "1.5", "many", "", "a,b", "'a:1','b:2'", "a:1,b:2", "[a, b]", "- a\n- b", "a: b", "a: b, c: d", "{a: b}", "127.0.0.1/32,localhost",
              "%(message)s", "asctime,{message: msg}", "[broken", "{broken", "[{name: postgresql, port: 5432}]"]
    rows = []
    for _ in range(500):
        env = {"PATRONI_" + name: rng.choice(values) for name in rng.sample(names, rng.randrange(1, 12))}
        saved = dict(os.environ)
        os.environ.update(env)
        try:
            rows.append([env, plain(json.loads(json.dumps(Config._build_environment_configuration())))])
        finally:
            os.environ.clear()
            os.environ.update(saved)
    return rows


MINIMAL = {"name": "n1", "scope": "demo", "etcd3": {"host": "10.0.0.9:2379"}, "restapi": {"listen": "0.0.0.0:8008", "connect_address": "10.0.0.1:8008"},
           "postgresql": {"listen": "0.0.0.0:5432", "connect_address": "10.0.0.1:5432", "data_dir": "/nonexistent/data", "bin_dir": "/",
                          "authentication": {"replication": {"username": "rep"}, "superuser": {"username": "su"}}}}


def effective_rows(rng):
    import types
    from patroni.collections import CaseInsensitiveDict
    from patroni.config import Config
    from patroni.postgresql.config import ConfigHandler
    from patroni.postgresql.validator import transform_postgresql_parameter_value
    parameters = {"max_connections": [10, 100, "200", "many"], "max_wal_senders": [2, 5], "wal_level": ["minimal", "logical", "replica", "hot_standby", "REPLICA"],
                  "hot_standby": ["off", True], "wal_keep_segments": [0, 20, "30"], "wal_keep_size": ["8MB", "1GB", 512], "wal_log_hints": [True, "off", "x"],
                  "track_commit_timestamp": ["on", False], "work_mem": ["4MB", 1], "archive_mode": [True, "always"], "archive_command": ["cp %p 'x'", "a\\b"],
                  "shared_preload_libraries": ["a,b", "citus, a"], "max_prepared_transactions": [0, 5], "hba_file": ["x.conf", "/etc/hba"], "DateStyle": ["iso"], "datestyle": ["german"],
                  "restore_command": ["cp"], "listen_addresses": ["x"], "port": [1], "cluster_name": ["x"], "ext.x": [1], "nonsense": ["x"], "password_encryption": ["md5", True],
                  "max_worker_processes": [1, 16], "max_replication_slots": [3, 20], "max_locks_per_transaction": [1, 128], "log_min_duration_statement": ["5s", -5], "jit": [False]}
    other = {"use_pg_rewind": [True, "off", False], "use_slots": [False, True], "pg_hba": [["a", "b"], ["c"]], "recovery_conf": [{"restore_command": "x"}], "data_dir": ["/x"],
             "create_replica_methods": [["wal_e", "basebackup"]], "callbacks": [{"on_start": "x"}], "pg_ctl_timeout": [30], "listen": ["*:9"], "bin_name": [{"postgres": "p"}], "custom_conf": ["c.conf"]}

    def section(local):
        result = {k: rng.choice(v) for k, v in rng.sample(sorted(other.items()), rng.randrange(5)) if not (local and k in ("data_dir", "listen"))}
        result["parameters"] = {k: rng.choice(v) for k, v in rng.sample(sorted(parameters.items()), rng.randrange(9))}
        return result

    rows = []
    for _ in range(200):
        local = json.loads(json.dumps(MINIMAL))
        local["postgresql"].update(section(True))
        if rng.random() < 0.1:
            local["citus"] = {"group": 0, "database": "c"}
        dynamic = {"ttl": 30, "postgresql": section(False)}
        build = Config.__new__(Config)
        effective = build._build_effective_configuration(json.loads(json.dumps(dynamic)), json.loads(json.dumps(local)))
        postgresql = effective["postgresql"]
        version = rng.choice(PATRONI_VERSIONS)
        kwargs = types.SimpleNamespace(conn_kwargs={"host": "localhost"})

        def adjust(gucs):
            if "citus" in effective:
                from patroni.postgresql.mpp.citus import CitusHandler
                CitusHandler.adjust_postgres_gucs(types.SimpleNamespace(_postgresql=types.SimpleNamespace(connection_pool=kwargs)), gucs)

        handler = types.SimpleNamespace(_server_parameters=CaseInsensitiveDict(), _config_dir="/nonexistent/data", CMDLINE_OPTIONS=ConfigHandler.CMDLINE_OPTIONS,
                                        _postgresql=types.SimpleNamespace(scope="demo", major_version=version // 10000 * 10000, mpp_handler=types.SimpleNamespace(adjust_postgres_gucs=adjust)))
        wanted = ConfigHandler.get_server_parameters(handler, postgresql)
        written = {}
        for name, value in sorted(wanted.items()):
            value = transform_postgresql_parameter_value(version, name, value, set())
            if value is not None:
                written[name] = str(value)
        options = ["--{0}={1}".format(p, wanted[p]) for p in ConfigHandler.CMDLINE_OPTIONS if p in wanted and p not in ("wal_keep_segments", "wal_keep_size")]
        raw = {k: v for k, v in postgresql.items() if k not in ("parameters", "name", "scope", "retry_timeout", "citus")}
        rows.append({"dynamic": dynamic, "local": local, "version": version, "raw": raw, "file": written, "command_line": options})
    return rows


def validate_rows(rng):
    import contextlib
    from unittest import mock
    from patroni.validator import populate_validate_params, schema
    populate_validate_params(ignore_listen_port=True)
    cases = {
        "name": [None, 1, ""], "scope": [None, 5], "thread_pool_size": [4, 5, "x", "6", True], "thread_stack_size": [65536, 65537, 1],
        "restapi.listen": [None, 5, "x:y", "*:1"], "restapi.connect_address": [None, "127.0.0.1:8008", "localhost:1", "x", "a:b:c"], "restapi.authentication": [{}, {"username": "a"}, {"username": 1, "password": "x"}, "x"],
        "restapi.verify_client": ["none", "NONE", True, 5], "restapi.allowlist": [[], ["a"], [5], "x"], "restapi.request_queue_size": [-1, 5, 5000, "5"], "restapi.server_tokens": ["Minimal", "x"],
        "restapi.http_extra_headers": [{}, "x"], "restapi.thread_pool_size": [1],
        "log": [{}, "x", {"type": "plain", "level": "info", "mode": 512}, {"format": []}, {"format": [1]}, {"format": ["a", {"b": "c"}]}, {"format": 5}, {"loggers": 5, "traceback_level": "debug", "file_num": "x"}],
        "ctl": [{"insecure": "x"}, {"keyfile_password": 5}],
        "bootstrap": [{}, {"dcs": {}}, {"dcs": {"ttl": 10, "loop_wait": 0, "retry_timeout": "3", "maximum_lag_on_failover": -1, "maximum_lag_on_syncnode": -2, "member_slots_ttl": "1h"}},
                      {"dcs": {"synchronous_mode": "quorum"}}, {"dcs": {"synchronous_mode": "x", "synchronous_node_count": 0, "synchronous_mode_strict": 5}}, {"dcs": {"standby_cluster": {}}},
                      {"dcs": {"standby_cluster": {"host": 5, "port": 70000}}}, {"dcs": {"postgresql": {"parameters": {"max_connections": 0, "max_wal_senders": "x"}, "use_slots": "x", "pg_hba": []}}},
                      {"dcs": {}, "initdb": ["a", {"b": "c"}, 5], "method": 5}, {"dcs": 5}],
        "etcd3": [None, {}, {"host": 5}, {"hosts": "a:1,b:2"}, {"hosts": ["a:1", "unreachable:1"]}, {"hosts": 5}, {"hosts": "unreachable:1"}, {"host": "unreachable:5"}, {"url": 5}, {"srv": "x", "username": 5}, {"hosts": []}],
        "consul": [{}, {"host": "a:1", "port": 70000, "consistency": "x", "checks": [1], "verify": 1}], "exhibitor": [{}, {"hosts": [], "port": "x", "poll_interval": 0}],
        "raft": [{}, {"self_addr": "127.0.0.1:1", "partner_addrs": ["unreachable:1"]}, {"self_addr": "a:1", "partner_addrs": "x"}], "zookeeper": [{}, {"hosts": "a:1", "use_ssl": "x", "set_acls": []}],
        "kubernetes": [{}, {"labels": 5}, {"labels": {}, "pod_ip": "x", "ports": [{}]}, {"labels": {}, "pod_ip": "::1", "retriable_http_codes": "x"}, {"labels": {}, "pod_ip": "10.0.0.1", "retriable_http_codes": ["x"]},
                       {"labels": {}, "retriable_http_codes": [500], "ports": [{"name": "a", "port": 1}]}],
        "citus": [{}, {"database": 5, "group": -1}], "postgresql.listen": [None, "a,*:5", "*:5432", 5, "a,b:c"], "postgresql.connect_address": [None, "0.0.0.0:5432", 5],
        "postgresql.proxy_address": ["localhost:1", "a:1"], "postgresql.authentication": [None, {}, {"replication": {}, "superuser": 5}, {"replication": {"username": 5, "password": 5}, "superuser": {"username": "a"}, "rewind": {}}],
        "postgresql.data_dir": [None, "", 5], "postgresql.bin_dir": ["/nonexistent/bin", None, ""], "postgresql.bin_name": [{"pg_ctl": "missing", "postgres": ""}, {"pg_ctl": "ok"}, {"initdb": 5}],
        "postgresql.pg_hba": [[], "x", [5]], "postgresql.pg_ctl_timeout": [-1, "x", "5"], "postgresql.use_pg_rewind": ["on", True], "postgresql.parameters": [{"unix_socket_directories": 5}, 5],
        "watchdog": [{"mode": False}, {"mode": True}, {"mode": "x"}, {"mode": 5, "device": 5, "safety_margin": -2}, {"mode": "off", "safety_margin": "x"}],
        "tags": [{"nofailover": True, "failover_priority": 1}, {"nofailover": "x", "nosync": True, "sync_priority": 5}, {"failover_priority": -1, "clonefrom": "x", "replicatefrom": 5}, {"nostream": 1}, "x"],
    }

    class Socket:
        def __init__(self, *args): pass
        def connect_ex(self, address): return 1 if address[0] == "unreachable" else 0
        def close(self): pass

    rows = []
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("socket.socket", Socket))
        stack.enter_context(mock.patch("socket.getaddrinfo", lambda host, *args: [(2, 1, 6, "", (host or "0.0.0.0", 0))]))
        stack.enter_context(mock.patch("shutil.which", lambda name, path=None: None if name == "missing" else name))
        for _ in range(500):
            config = json.loads(json.dumps(MINIMAL))
            for path in rng.sample(sorted(cases), rng.randrange(1, 5)):
                target, keys = config, path.split(".")
                for key in keys[:-1]:
                    target = target[key]
                value = json.loads(json.dumps(rng.choice(cases[path])))
                if value is None:
                    target.pop(keys[-1], None)
                else:
                    target[keys[-1]] = value
            given = json.loads(json.dumps(config))
            rows.append([given, schema(config)])
    return rows


def sample_rows():
    import os
    from unittest import mock
    from patroni import config_generator
    rows = []
    for version in (90600, 100000, 120000, 150000):
        for env in ({}, {"PATRONI_SCOPE": "demo", "PATRONI_ETCD3_HOSTS": "a:1,b:2", "PATRONI_REPLICATION_USERNAME": "rep", "PATRONI_POSTGRESQL_BIN_DIR": "/bin", "PATRONI_NAMESPACE": "/x/",
                         "PATRONI_RESTAPI_USERNAME": "u", "PATRONI_RESTAPI_PASSWORD": "p"}):
            with mock.patch("patroni.config_generator.get_address", lambda: ("host1", "10.0.0.1")), mock.patch.dict(os.environ, env), \
                    mock.patch.object(config_generator.SampleConfigGenerator, "_get_int_major_version", lambda self: version):
                generator = config_generator.SampleConfigGenerator(None)
                rows.append([version, env, "\n".join(generator._format_config())])
    return rows


def main():
    import logging
    logging.disable(logging.CRITICAL)
    write("units.jsonl", unit_rows(random.Random(3)))
    write("rules.jsonl", rule_rows(random.Random(4)))
    write("conninfo.jsonl", conninfo_rows(random.Random(5)))
    write("dynamic.jsonl", dynamic_rows(random.Random(6)))
    write("environment.jsonl", environment_rows(random.Random(7)))
    write("effective.jsonl", effective_rows(random.Random(8)))
    write("validate.jsonl", validate_rows(random.Random(9)))
    write("sample.jsonl", sample_rows())
    write("dump.jsonl", dump_rows(random.Random(1)))
    write("load.jsonl", load_rows(random.Random(2)))


if __name__ == "__main__":
    main()
