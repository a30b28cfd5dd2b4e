"""Asks one server several things, each on a connection of its own, and prints a line per answer.

usage: access.py HOST:PORT DIRECTORY < JSON [{method, path, body, auth, cert, tls, ciphers}, …]
"""
import base64
import hashlib
import http.client
import json
import ssl
import sys

address, directory = sys.argv[1:]


def context(ask):
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if ask.get("tls") == "1.2":
        tls.maximum_version = ssl.TLSVersion.TLSv1_2
    if ask.get("ciphers"):
        tls.set_ciphers(ask["ciphers"])
    if ask.get("cert"):
        tls.load_cert_chain(f"{directory}/{ask['cert']}.pem")
    return tls


def answer(ask):
    host = ask.get("host") or address
    if ask.get("plain"):
        connection = http.client.HTTPConnection(host, timeout=20)
    else:
        connection = http.client.HTTPSConnection(host, timeout=20, context=context(ask))
    headers = {"Connection": "close"}
    if ask.get("auth"):
        headers["Authorization"] = "Basic " + base64.b64encode(ask["auth"].encode()).decode()
    if ask.get("bearer"):
        headers["Authorization"] = "Bearer " + ask["bearer"]
    try:
        connection.connect()
        served = "" if ask.get("plain") else hashlib.sha256(connection.sock.getpeercert(True)).hexdigest()[:8]
        connection.request(ask["method"], ask["path"], ask.get("body"), headers)
        got = connection.getresponse()
        body = got.read().decode()
    except (OSError, http.client.HTTPException):
        return "refused"
    finally:
        connection.close()
    said = "a document" if got.headers.get_content_type() == "application/json" else body
    realm = got.headers.get("WWW-Authenticate") or ""
    return " ".join(filter(None, [str(got.status), realm, served, got.headers.get("Server"), " ".join(said.split())]))


for ask in json.load(sys.stdin):
    print(answer(ask), flush=True)
