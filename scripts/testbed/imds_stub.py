"""A stub of the EC2 instance metadata service (IMDSv2) and of the two Auto Scaling calls that a draining instance
makes. Not AWS: written from AWS's public documentation, for tests on 127.0.0.1 only.

    imds_stub.py PORT     PORT 0 takes a free one; the first line on stdout is the URL

PUT  /latest/api/token   a session token, as IMDSv2 wants it
GET  /latest/meta-data/… with a token: the value of that path in the state, 404 when there is none, 401 when the
                         token is unknown or too old
POST /                   CompleteLifecycleAction or RecordLifecycleActionHeartbeat (form, signed): recorded, answered in
                         XML, refused with 400 for another instance, group or hook, and when no action is waiting
GET  /_control           {"state", "calls", "requests"}: calls = the recorded Auto Scaling calls in their order with
                         "Status", the HTTP status they were answered with; requests = how often each metadata path was
                         asked for ("token" for tokens)
POST /_control {json}    merges into the state, null removes. Keys are paths below /latest/meta-data/; a value that is
                         not a string is served as JSON. Keys with a $ are the stub's own:
  $fail                  HTTP status that everything but /_control is answered with
  $fail_metadata         the same for metadata only,
  $fail_autoscaling      the same for Auto Scaling only
  $delay                 seconds that every answer but /_control's takes
  $token_ttl             seconds that tokens live at most, whatever was asked for
  $group, $hook          the Auto Scaling group and hook that lifecycle calls must name
  $expire_tokens         true: forgets the tokens handed out so far (not kept in the state)
  $forget                true: forgets recorded calls and requests (not kept in the state)
"""

import json
import secrets
import sys
import threading
import time
from collections import Counter
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, unquote, urlsplit

TTL_HEADER = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN_HEADER = "X-aws-ec2-metadata-token"
LONGEST_TTL_SECONDS = 21600
METADATA = "/latest/meta-data/"
ACTIONS = {"CompleteLifecycleAction", "RecordLifecycleActionHeartbeat"}
NAMESPACE = "http://autoscaling.amazonaws.com/doc/2011-01-01/"


def timestamp(moment):
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def first_state():
    now = datetime.now(timezone.utc)
    return {
        "$group": "ingest-asg",
        "$hook": "drain",
        "instance-id": "i-0123456789abcdef0",
        "instance-life-cycle": "spot",
        "placement/region": "us-east-1",
        "placement/availability-zone": "us-east-1a",
        "autoscaling/target-lifecycle-state": "InService",
        "iam/security-credentials/": "test-role",
        "iam/security-credentials/test-role": {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "LastUpdated": timestamp(now),
            "AccessKeyId": "testkey",
            "SecretAccessKey": "testsecret",
            "Token": "testtoken",
            "Expiration": timestamp(now + timedelta(hours=6)),
        },
    }


class World:
    """What the stub knows; the lock is held for each whole request except its delay."""

    def __init__(self):
        self.lock = threading.Lock()
        self.state = first_state()
        self.tokens = {}  # token -> monotonic time at which it ends
        self.calls = []
        self.requests = Counter()

    def failure(self, part):
        return self.state.get("$fail") or self.state.get(f"$fail_{part}")

    def control(self, changes):
        if changes.pop("$expire_tokens", False):
            self.tokens.clear()
        if changes.pop("$forget", False):
            self.calls.clear()
            self.requests.clear()
        for key, value in changes.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    def new_token(self, wanted_seconds):
        ttl = min(wanted_seconds, self.state.get("$token_ttl", LONGEST_TTL_SECONDS))
        token = secrets.token_urlsafe(40)
        self.tokens[token] = time.monotonic() + ttl
        return token, ttl

    def token_is_valid(self, token):
        return time.monotonic() < self.tokens.get(token, 0)

    def metadata(self, path):
        """The text at a path; IMDS takes folders with and without their last slash."""
        if path.startswith("$"):
            return None
        value = self.state.get(path, self.state.get(path + "/"))
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value)

    def refusal(self, call):
        """Why Auto Scaling would refuse the call, or None. An action is over once it was completed."""
        if call.get("Action") not in ACTIONS:
            return "InvalidAction", "unknown action"
        named = call.get("InstanceId"), call.get("AutoScalingGroupName"), call.get("LifecycleHookName")
        if named != (self.state.get("instance-id"), self.state.get("$group"), self.state.get("$hook")):
            return "ValidationError", "No active Lifecycle Action found with the names given"
        completed = any(
            earlier["Action"] == "CompleteLifecycleAction"
            and earlier["Status"] == 200
            and earlier["InstanceId"] == call["InstanceId"]
            for earlier in self.calls
        )
        if completed:
            return "ValidationError", f"No active Lifecycle Action found with instance ID {call['InstanceId']}"
        if call["Action"] == "CompleteLifecycleAction" and call.get("LifecycleActionResult") not in ("CONTINUE", "ABANDON"):
            return "ValidationError", "LifecycleActionResult must be CONTINUE or ABANDON"
        return None


world = World()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body in one packet

    def log_message(self, *_):
        pass

    def answer(self, status, body="", content_type="text/plain", headers=()):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def path_only(self):
        return unquote(urlsplit(self.path).path)

    def delay(self):
        with world.lock:
            seconds = world.state.get("$delay", 0)
        time.sleep(seconds)

    def do_PUT(self):
        self.body()
        self.delay()
        with world.lock:
            world.requests["token"] += 1
            failure = world.failure("metadata")
            if failure:
                return self.answer(int(failure))
            if self.headers.get("X-Forwarded-For"):
                return self.answer(403)
            wanted = self.headers.get(TTL_HEADER, "")
            if self.path_only() != "/latest/api/token":
                return self.answer(404)
            if not (wanted.isascii() and wanted.isdigit() and 1 <= int(wanted) <= LONGEST_TTL_SECONDS):
                return self.answer(400)
            token, ttl = world.new_token(int(wanted))
            self.answer(200, token, headers=[(TTL_HEADER, str(ttl))])

    def do_GET(self):
        path = self.path_only()
        if path == "/_control":
            with world.lock:
                known = {"state": world.state, "calls": world.calls, "requests": world.requests}
                return self.answer(200, json.dumps(known), "application/json")
        self.delay()
        with world.lock:
            key = path.removeprefix(METADATA)
            world.requests[key] += 1
            failure = world.failure("metadata")
            if failure:
                return self.answer(int(failure))
            if not world.token_is_valid(self.headers.get(TOKEN_HEADER)):
                return self.answer(401)
            value = world.metadata(key) if path.startswith(METADATA) else None
            if value is None:
                return self.answer(404)
            self.answer(200, value)

    def do_POST(self):
        body = self.body()
        if self.path_only() == "/_control":
            with world.lock:
                world.control(json.loads(body))
                return self.answer(200, "ok\n")
        self.delay()
        with world.lock:
            call = dict(parse_qsl(body))
            call.setdefault("Action", "")
            status, code, why = 200, "", ""
            refusal = world.refusal(call)
            failure = world.failure("autoscaling")
            if failure:
                status, code, why = int(failure), "InternalFailure", "the stub was told to fail"
            elif not self.headers.get("Authorization", "").startswith("AWS4-HMAC-SHA256 "):
                status, code, why = 403, "MissingAuthenticationToken", "the request is not signed"
            elif refusal:
                status, (code, why) = 400, refusal
            world.calls.append({**call, "Status": status})
            if status == 200:
                xml = (
                    f'<{call["Action"]}Response xmlns="{NAMESPACE}"><{call["Action"]}Result/>'
                    f'<ResponseMetadata><RequestId>0</RequestId></ResponseMetadata></{call["Action"]}Response>'
                )
            else:
                xml = (
                    f'<ErrorResponse xmlns="{NAMESPACE}"><Error><Type>Sender</Type><Code>{code}</Code>'
                    f"<Message>{why}</Message></Error><RequestId>0</RequestId></ErrorResponse>"
                )
            self.answer(status, xml, "text/xml")


class Server(ThreadingHTTPServer):
    request_queue_size = 128


if __name__ == "__main__":
    server = Server(("127.0.0.1", int(sys.argv[1])), Handler)
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
