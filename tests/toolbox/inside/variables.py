#!/usr/bin/python3
"""Firmware variables, enrolled by virt-fw-vars: variables.py DIR

The variables of each set are written by the tool into a copy of OVMF's blank variable store and read
back out of that store, so that what ends up below DIR/efivars* is what firmware would show.
DIR/efivars.json says what went in.
"""

import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import uuid

from cryptography import x509

BLANK = "/usr/share/OVMF/OVMF_VARS_4M.fd"
OWNER = uuid.UUID("5e87a000-7e57-4000-8000-000000000001")

# UEFI specification 2.10, section 32.4.1: types of signature lists that virt-fw-sigdb doesn't know.
TBS_LISTS = {
    "x509-sha256": (uuid.UUID("3bd2a492-96c0-4079-b420-fcf98ef103ed"), hashlib.sha256),
    "x509-sha384": (uuid.UUID("7076876e-80c2-4ee6-aad2-28b349a6865b"), hashlib.sha384),
}
CERT_TYPE_PKCS7 = uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"

BOOT_SERVICE_ACCESS = 0x2
RUNTIME_ACCESS = 0x4
ALWAYS = bytes(16)
SINCE_2024 = struct.pack("<HBBBBBxLhBx", 2024, 2, 29, 12, 30, 15, 0, 0, 0)


def certificate(name):
    return {"type": "x509", "owner": str(OWNER), "file": f"keys/{name}.der"}


def digest(text):
    data = hashlib.sha256(text.encode()).hexdigest()
    return {"type": "sha256", "owner": str(OWNER), "data": data}


def tbs_digest(keys, name, kind, time):
    """Revokes a certificate by the digest of its signed part; the time of revocation follows it."""
    parsed = x509.load_der_x509_certificate((keys / f"{name}.der").read_bytes())
    data = TBS_LISTS[kind][1](parsed.tbs_certificate_bytes).digest() + time
    return {"type": kind, "owner": str(OWNER), "data": data.hex()}


def tool(*arguments):
    subprocess.run([str(a) for a in arguments], check=True)


def signature_database(directory, entries, output):
    """Certificates and SHA-256 digests by virt-fw-sigdb, what it can't make behind them."""
    command = ["virt-fw-sigdb", "--output", output]
    for entry in entries:
        if entry["type"] == "x509":
            command += ["--add-cert", entry["owner"], directory / entry["file"]]
        elif entry["type"] == "sha256":
            command += ["--add-hash", entry["owner"], entry["data"]]
    tool(*command)
    with open(output, "ab") as file:
        for kind, (guid, _) in TBS_LISTS.items():
            rows = [bytes.fromhex(e["data"]) for e in entries if e["type"] == kind]
            if not rows:
                continue
            size = 16 + len(rows[0])
            file.write(guid.bytes_le + struct.pack("<LLL", 28 + size * len(rows), 0, size))
            for row in rows:
                file.write(OWNER.bytes_le + row)


def as_update(source, output):
    """An authenticated variable update without a signature, the form --set-dbx takes."""
    time = struct.pack("<HBBBBBxLhBx", 2024, 1, 1, 0, 0, 0, 0, 0, 0)
    header = struct.pack("<LHH", 24, 0x0200, 0x0EF1) + CERT_TYPE_PKCS7.bytes_le
    output.write_bytes(time + header + source.read_bytes())


def enrol(directory, content, store):
    """Has virt-fw-vars write `content` into a copy of the blank store."""
    command = ["virt-fw-vars", "--input", BLANK, "--output", store]
    options = {"PK": "--set-pk", "KEK": "--add-kek", "db": "--add-db"}
    for name, option in options.items():
        for entry in content.get(name, []):
            if entry["type"] == "x509":
                pem = (directory / entry["file"]).with_suffix(".crt")
                command += [option, entry["owner"], pem]
            else:
                command += ["--add-db-hash", entry["owner"], entry["data"]]
    if "dbx" in content:
        database = store.with_suffix(".dbx")
        signature_database(directory, content["dbx"], database)
        update = store.with_suffix(".dbx.auth")
        as_update(database, update)
        command += ["--set-dbx", update]
    if "PK" in content:
        command.append("--secure-boot")
    tool(*command)


def write_variable(directory, name, guid, attributes, data):
    path = directory / f"{name}-{guid}"
    path.write_bytes(struct.pack("<L", attributes) + data)


def export(store, directory, firmware, texts):
    """The store's variables as efivarfs shows them, and those that firmware makes at each boot."""
    dump = store.with_suffix(".json")
    tool("virt-fw-vars", "--input", store, "--output-json", dump)
    directory.mkdir()
    for variable in json.loads(dump.read_text())["variables"]:
        attributes = variable["attr"]
        # The operating system never sees the others.
        if attributes & RUNTIME_ACCESS:
            data = bytes.fromhex(variable["data"])
            write_variable(directory, variable["name"], variable["guid"], attributes, data)
    volatile = BOOT_SERVICE_ACCESS | RUNTIME_ACCESS
    for name, value in firmware.items():
        write_variable(directory, name, GLOBAL, volatile, bytes([value]))
    for name, text in texts.items():
        write_variable(directory, name, LOADER, volatile, (text + "\0").encode("utf-16-le"))


def main():
    directory = pathlib.Path(sys.argv[1])
    keys = directory / "keys"
    trusted = {
        "PK": [certificate("pk")],
        "KEK": [certificate("kek")],
        "db": [certificate(name) for name in (
            "db", "db-ec", "db-p384", "revoked", "revoked-tbs256", "revoked-tbs384", "revoked-since",
        )] + [digest("a boot loader"), digest("another boot loader")],
        "dbx": [
            certificate("revoked"),
            digest("a broken boot loader"),
            digest("another broken boot loader"),
            digest("a third one"),
            tbs_digest(keys, "revoked-tbs256", "x509-sha256", ALWAYS),
            tbs_digest(keys, "revoked-since", "x509-sha256", SINCE_2024),
            tbs_digest(keys, "revoked-tbs384", "x509-sha384", ALWAYS),
        ],
    }
    without_pk = {name: list_ for name, list_ in trusted.items() if name != "PK"}
    enforcing = {"SecureBoot": 1, "SetupMode": 0, "AuditMode": 0, "DeployedMode": 0}
    sets = {
        "efivars": (trusted, enforcing),
        "efivars-setup": (without_pk, {**enforcing, "SecureBoot": 0, "SetupMode": 1}),
        "efivars-disabled": (trusted, {**enforcing, "SecureBoot": 0}),
    }
    texts = {"LoaderEntrySelected": "active.conf", "StubImageIdentifier": "\\EFI\\kairos\\active.efi"}

    stores = directory / "firmware"
    stores.mkdir()
    for name, (content, firmware) in sets.items():
        store = stores / f"{name}.fd"
        enrol(directory, content, store)
        export(store, directory / name, firmware, texts)
    listing = {name: {"lists": content, "bytes": firmware, "texts": texts}
               for name, (content, firmware) in sets.items()}
    (directory / "efivars.json").write_text(json.dumps(listing, indent=1) + "\n")


main()
