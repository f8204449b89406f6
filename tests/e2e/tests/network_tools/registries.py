"""What the far machine serves: a package of each kind, by HTTP on 80 and by TLS on 443.

registries.py DIRECTORY makes the packages and a certificate (`ca.pem`) there, and says of each request
what it served. Port 9000 says nothing and answers nothing: it tells what it heard.
"""

import base64
import hashlib
import http.server
import io
import json
import os
import socketserver
import ssl
import subprocess
import sys
import tarfile
import threading
import zipfile

DIRECTORY = sys.argv[1]
NAMES = ["www", "pypi", "files", "npm", "git", "apt"]
#: What is served, by the name that was asked and the path.
FILES = {("www.example", "/"): b"found\n"}


def say(*words):
    # One write a line: several threads tell.
    sys.stdout.write(" ".join(words) + "\n")
    sys.stdout.flush()


def run(*command):
    subprocess.run(command, check=True, cwd=DIRECTORY, stdout=subprocess.DEVNULL)


def write(path, text):
    path = os.path.join(DIRECTORY, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as file:
        file.write(text)
    return path


def make_certificate():
    names = ",".join(f"DNS:{name}.example" for name in NAMES)
    run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
        "-keyout", "key.pem", "-out", "ca.pem", "-days", "30", "-subj", "/CN=far",
        "-addext", f"subjectAltName={names}")  # fmt: skip


def make_wheel():
    wheel = io.BytesIO()
    about = "tiny-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny.py", "print('tiny of pip')\n")
        archive.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr(f"{about}/WHEEL", tag)
        members = ["tiny.py", f"{about}/METADATA", f"{about}/WHEEL", f"{about}/RECORD"]
        archive.writestr(f"{about}/RECORD", "".join(f"{member},,\n" for member in members))
    name = "tiny-1.0-py3-none-any.whl"
    digest = hashlib.sha256(wheel.getvalue()).hexdigest()
    page = f'<a href="https://files.example/{name}#sha256={digest}">{name}</a>'
    FILES["pypi.example", "/simple/tiny/"] = page.encode()
    FILES["files.example", f"/{name}"] = wheel.getvalue()


def make_npm_package():
    tarball = io.BytesIO()
    package = {"name": "tiny", "version": "1.0.0", "main": "index.js"}
    texts = {"package.json": json.dumps(package), "index.js": "console.log('tiny of npm')\n"}
    with tarfile.open(fileobj=tarball, mode="w:gz") as archive:
        for name, text in texts.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    path = "/tiny/-/tiny-1.0.0.tgz"
    digest = base64.b64encode(hashlib.sha512(tarball.getvalue()).digest()).decode()
    dist = {"tarball": f"https://npm.example{path}", "integrity": f"sha512-{digest}"}
    versions = {"1.0.0": {**package, "dist": dist}}
    document = {"name": "tiny", "dist-tags": {"latest": "1.0.0"}, "versions": versions}
    FILES["npm.example", "/tiny"] = json.dumps(document).encode()
    FILES["npm.example", path] = tarball.getvalue()


def make_deb():
    control = "Package: tiny\nVersion: 1.0\nArchitecture: all\nMaintainer: T <t@example>\nDescription: tiny\n"
    write("deb/DEBIAN/control", control)
    os.chmod(write("deb/usr/bin/tiny", "#!/bin/sh\necho tiny of apt\n"), 0o755)
    run("dpkg-deb", "--root-owner-group", "--build", "deb", "tiny.deb")
    with open(os.path.join(DIRECTORY, "tiny.deb"), "rb") as file:
        deb = file.read()
    digest = hashlib.sha256(deb).hexdigest()
    index = f"{control}Filename: ./tiny.deb\nSize: {len(deb)}\nSHA256: {digest}\n\n".encode()
    digest = hashlib.sha256(index).hexdigest()
    date = "Thu, 01 Jan 2026 00:00:00 UTC"
    release = f"Suite: tiny\nDate: {date}\nSHA256:\n {digest} {len(index)} Packages\n"
    FILES["apt.example", "/./tiny.deb"] = FILES["apt.example", "/tiny.deb"] = deb
    FILES["apt.example", "/./Packages"] = FILES["apt.example", "/Packages"] = index
    FILES["apt.example", "/./Release"] = FILES["apt.example", "/Release"] = release.encode()


def make_repository():
    write("work/README", "tiny of git\n")
    author = ["-c", "user.name=T", "-c", "user.email=t@example"]
    run("git", "init", "--quiet", "work")
    run("git", "-C", "work", "add", "README")
    run("git", "-C", "work", *author, "commit", "--quiet", "--message", "First")
    run("git", "clone", "--quiet", "--bare", "work", "repositories/tiny.git")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        host = self.headers["Host"].split(":")[0]
        path, _, query = self.path.partition("?")
        if host == "git.example":
            status, kind, body = self.git(path, query)
        else:
            body = FILES.get((host, path))
            status = 200 if body is not None else 404
            kind = "application/json" if host == "npm.example" else "text/html"
        say("served", host, path, str(status))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    do_POST = do_GET

    def git(self, path, query):
        """The smart protocol, by git's own CGI program (git-http-backend(1))."""
        length = self.headers.get("Content-Length", "0")
        environment = {
            **os.environ,
            "GIT_PROJECT_ROOT": os.path.join(DIRECTORY, "repositories"),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_LENGTH": length,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        sent = self.rfile.read(int(length))
        answer = subprocess.run(
            ["git", "http-backend"], env=environment, input=sent, stdout=subprocess.PIPE
        )
        head, _, body = answer.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if line)
        status = fields.get("Status", "200" if fields else "500")
        return int(status.split()[0]), fields.get("Content-Type", "text/plain"), body

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, *_):
        # A caller that went away, or would not have the certificate.
        pass


class Listener(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            for line in self.rfile:
                say("heard", line.decode().strip())
        except OSError:
            pass


class Heard(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True


def main():
    make_certificate()
    make_wheel()
    make_npm_package()
    make_deb()
    make_repository()
    plain, secure = Server(("", 80), Handler), Server(("", 443), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate, key = (os.path.join(DIRECTORY, name) for name in ["ca.pem", "key.pem"])
    context.load_cert_chain(certificate, key)
    # The handshake belongs to the connection's own thread.
    secure.socket = context.wrap_socket(
        secure.socket, server_side=True, do_handshake_on_connect=False
    )
    for server in [plain, secure, Heard(("", 9000), Listener)]:
        threading.Thread(target=server.serve_forever).start()
    say("far serves")


main()
