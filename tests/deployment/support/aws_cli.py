"""The real aws CLI, loaded once: starting it anew for each of a script's calls would cost most of a test's time.

    aws_cli.py serve SOCKET ENDPOINT     answers until it is killed; every call goes to ENDPOINT, each in a process of its own
    aws_cli.py ask SOCKET ARGUMENT...    one call of the CLI, with this process's output and the CLI's exit code

Serving needs awscli 1 in this Python. The server is named on the command line, because SQS takes it from nowhere else in
this version of the CLI.
"""
import json
import os
import signal
import socket
import sys

# What the deploy scripts talk to; their models are the slow part.
SERVICES = ("autoscaling", "cloudwatch", "ec2", "logs", "sqs", "sts")


def call(driver, connection, endpoint):
    size, descriptors, _, _ = socket.recv_fds(connection, 1 << 20, 2)
    for own, theirs in zip((1, 2), descriptors):
        os.dup2(theirs, own)
    code = driver.main(["--endpoint-url", endpoint, *json.loads(size)])
    sys.stdout.flush()
    sys.stderr.flush()
    connection.sendall(bytes([code]))


def serve(path, endpoint):
    from awscli.clidriver import create_clidriver

    driver = create_clidriver()
    for service in SERVICES:
        driver.session.get_service_model(service)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                call(driver, connection, endpoint)
                os._exit(0)
            connection.close()


def ask(path, arguments):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        socket.send_fds(connection, [json.dumps(arguments).encode()], [1, 2])
        code = connection.recv(1)
    sys.exit(code[0] if code else 1)


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    ask(sys.argv[2], sys.argv[3:])
