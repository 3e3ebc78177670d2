"""Whether the real aws CLI takes calls that a scripted AWS took: options, their types, the requests' shapes.

    check_calls.py FILE        FILE: a call a line, quoted for the shell, without the word aws

Needs awscli 1 in this Python. Nothing is sent: the CLI gets as far as the network, where it finds none. Prints the calls
that it refuses; exits 1 when there are any, or when no call was checked.
"""
import contextlib
import io
import json
import os
import shlex
import sys

import botocore.httpsession
from awscli.clidriver import create_clidriver


class Sent(BaseException):
    """The request was complete."""


def refuse_to_send(_session, _request):
    raise Sent


def keys(value):
    """The names in a JSON value, however deep."""
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    if isinstance(value, list):
        return {key for inner in value for key in keys(inner)}
    return set()


def names(word):
    """What of a word decides whether it is well-formed: an option, or the names in its JSON."""
    if word.startswith("--"):
        return {word}
    try:
        return keys(json.loads(word))
    except ValueError:
        return set()


def form(call):
    """Calls that differ in values only are checked once."""
    return tuple(call[:2]) + tuple(sorted({name for word in call[2:] for name in names(word)}))


def complaint(driver, call):
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            driver.main(call)
    except Sent:
        return None
    except SystemExit:
        pass
    return said.getvalue().strip().splitlines()[-1] if said.getvalue().strip() else "nothing was sent"


def main():
    os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="ap-northeast-1", AWS_PAGER="")
    botocore.httpsession.URLLib3Session.send = refuse_to_send
    with open(sys.argv[1], encoding="utf-8") as file:
        calls = {form(call): call for call in map(shlex.split, file) if call}
    driver = create_clidriver()
    refused = 0
    for call in calls.values():
        why = complaint(driver, call)
        if why:
            refused += 1
            print(f"aws {shlex.join(call)}\n  {why}")
    print(f"{len(calls)} forms of calls, {refused} refused")
    return 1 if refused or not calls else 0


if __name__ == "__main__":
    sys.exit(main())
