"""A web server and a worker beside it: proven ready, listened to, and stopped."""

from pyro_mcp import Probe, ServiceFailedError, Workspace

WORKER = """
mkfifo jobs; exec 3<>jobs
echo waiting for jobs
while read -r job <&3; do
    echo "$job" | tr a-z A-Z > "results/$job"
    echo "done: $job"
done
"""
GET = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode(), end='')"

with Workspace.create("debian:12") as ws:
    ws.run("mkdir results", check=True)
    web = ws.services.start(
        "web",
        ["python3", "-m", "http.server", "8000", "--bind", "127.0.0.1", "--directory", "results"],
        ready=Probe.http("http://127.0.0.1:8000/"),
    )
    worker = ws.services.start(
        "worker",
        WORKER,
        ready=Probe.log("waiting for jobs"),
        depends_on=["web"],
        restart="on-failure",
    )
    for one in ws.services.list():
        print(one.service_name, "is", one.state, "and", "ready" if one.ready else "not ready")

    ws.run("echo resize > jobs; echo rotate > jobs", check=True)
    for line in worker.logs(follow=True):
        print("worker:", line)
        if line.text == "done: rotate":
            break
    page = ws.run(["python3", "-c", GET, "http://127.0.0.1:8000/rotate"], check=True)
    print("web:", page.stdout.strip())

    try:
        ws.services.start("broken", "echo no configuration; exit 3", ready=Probe.file(".ready"))
    except ServiceFailedError as error:
        print(error.code, error.info.exit_code, *error.log_tail)

    for service in (worker, web):
        stopped = service.stop()
        print(stopped.service_name, stopped.state, stopped.stop_reason)

"""Prints, for example:

web is running and ready
worker is running and ready
worker: waiting for jobs
worker: done: resize
worker: done: rotate
web: ROTATE
service_exited 3 no configuration
worker stopped sigterm
web stopped sigterm
"""
