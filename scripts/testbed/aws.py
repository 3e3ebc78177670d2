#!/usr/bin/env python3
"""The few calls to SQS and S3 that the scripts need, signed (SigV4), with nothing but Python's own library.

  aws.py create-bucket BUCKET
  aws.py put-object BUCKET KEY FILE             KEY is literal; Content-Type is guessed from its name
  aws.py get-object BUCKET KEY                  the object on stdout
  aws.py list-objects BUCKET [PREFIX]           a key a line
  aws.py create-queue NAME [--dlq NAME] [--max-receive-count N] [--visibility SECONDS]
                                                prints the queue's URL; makes the DLQ too
  aws.py send-message QUEUE_URL BODY            BODY - is stdin
  aws.py notify QUEUE_URL BUCKET KEY FILE       sends the S3 notification that says KEY was created from FILE
  aws.py receive-message QUEUE_URL              one message as JSON, not deleted; nothing when there is none
  aws.py purge-queue QUEUE_URL
  aws.py queue-attributes QUEUE_URL             NAME=VALUE lines
  aws.py wait-drained QUEUE_URL SECONDS         until nothing is visible, in flight or delayed; exit 1 when it isn't

Environment: AWS_ENDPOINT_URL_S3 and AWS_ENDPOINT_URL_SQS (or what up.sh prints: TESTBED_S3_ENDPOINT and
TESTBED_SQS_ENDPOINT), AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION.
"""
import argparse
import hashlib
import hmac
import json
import mimetypes
import os
import sys
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree
from datetime import datetime, timezone
from urllib.parse import quote, quote_plus, urlencode, urlsplit

# The servers are on loopback: a proxy in the environment must not see these calls.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
TIMEOUT_SECONDS = 30
# A server on a busy machine stores a scan of a thousand pages for minutes before it answers.
SLOWEST_BYTES_A_SECOND = 2_000_000
S3_XML = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def setting(*names: str) -> str:
    for name in names:
        if os.environ.get(name):
            return os.environ[name]
    sys.exit(f"aws.py: {names[0]} is not set; start the servers and source what up.sh prints")


def signed_request(service: str, method: str, url: str, body: bytes = b"", headers: dict | None = None) -> bytes:
    """One call; `url` has its path and query encoded already. Exits with one sentence when the answer is no success."""
    region = os.environ.get("AWS_REGION", "us-east-1")
    secret = setting("AWS_SECRET_ACCESS_KEY")
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    parts = urlsplit(url)
    body_sum = hashlib.sha256(body).hexdigest()

    signed = {**(headers or {}), "host": parts.netloc, "x-amz-date": now, "x-amz-content-sha256": body_sum}
    signed = {name.lower(): value for name, value in sorted(signed.items(), key=lambda item: item[0].lower())}
    names = ";".join(signed)
    canonical = "\n".join([
        method,
        parts.path or "/",
        "&".join(sorted(parts.query.split("&"))),
        *(f"{name}:{value}" for name, value in signed.items()),
        "",
        names,
        body_sum,
    ])
    scope = f"{now[:8]}/{region}/{service}/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signed["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={setting('AWS_ACCESS_KEY_ID')}/{scope}, "
        f"SignedHeaders={names}, Signature={key.hex()}"
    )

    try:
        request = urllib.request.Request(url, data=body or None, method=method, headers=signed)
        with OPENER.open(request, timeout=TIMEOUT_SECONDS + len(body) / SLOWEST_BYTES_A_SECOND) as response:
            return response.read()
    except urllib.error.HTTPError as error:
        answer = error.read().decode(errors="replace").strip()
        sys.exit(f"aws.py: {method} {url} was answered with {error.code}: {answer[:500]}")
    except OSError as error:
        sys.exit(f"aws.py: {parts.netloc} can't be reached ({error}); is the server running?")


# --- S3 --------------------------------------------------------------------------------------------------------------


def s3(method: str, bucket: str, key: str = "", query: dict | None = None, body: bytes = b"", content_type: str = ""):
    endpoint = setting("AWS_ENDPOINT_URL_S3", "TESTBED_S3_ENDPOINT").rstrip("/")
    url = f"{endpoint}/{bucket}" + (f"/{quote(key, safe='/-_.~')}" if key else "")
    if query:
        url += "?" + urlencode(query, quote_via=quote, safe="-_.~")
    return signed_request("s3", method, url, body, {"content-type": content_type} if content_type else None)


def create_bucket(args):
    s3("PUT", args.bucket)


def put_object(args):
    with open(args.file, "rb") as file:
        body = file.read()
    s3("PUT", args.bucket, args.key, body=body, content_type=mimetypes.guess_type(args.key)[0] or "binary/octet-stream")


def get_object(args):
    sys.stdout.buffer.write(s3("GET", args.bucket, args.key))


def list_objects(args):
    query = {"list-type": "2", "prefix": args.prefix}
    while True:
        page = xml.etree.ElementTree.fromstring(s3("GET", args.bucket, query=query))
        for key in page.iterfind(f"{S3_XML}Contents/{S3_XML}Key"):
            print(key.text)
        query["continuation-token"] = page.findtext(f"{S3_XML}NextContinuationToken")
        if not query["continuation-token"]:
            return


# --- SQS -------------------------------------------------------------------------------------------------------------


def sqs(action: str, **parameters) -> dict:
    endpoint = setting("AWS_ENDPOINT_URL_SQS", "TESTBED_SQS_ENDPOINT").rstrip("/")
    headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": f"AmazonSQS.{action}"}
    answer = signed_request("sqs", "POST", endpoint + "/", json.dumps(parameters).encode(), headers)
    return json.loads(answer) if answer else {}


def attributes_of(queue_url: str) -> dict:
    return sqs("GetQueueAttributes", QueueUrl=queue_url, AttributeNames=["All"])["Attributes"]


def create_queue(args):
    attributes = {"VisibilityTimeout": str(args.visibility)}
    if args.dlq:
        dlq_url = sqs("CreateQueue", QueueName=args.dlq)["QueueUrl"]
        attributes["RedrivePolicy"] = json.dumps({
            "deadLetterTargetArn": attributes_of(dlq_url)["QueueArn"],
            "maxReceiveCount": args.max_receive_count,
        })
    print(sqs("CreateQueue", QueueName=args.name, Attributes=attributes)["QueueUrl"])


def send_message(args):
    body = sys.stdin.read() if args.body == "-" else args.body
    sqs("SendMessage", QueueUrl=args.queue_url, MessageBody=body)


def notify(args):
    with open(args.file, "rb") as file:
        content = file.read()
    now = datetime.now(timezone.utc)
    record = {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": os.environ.get("AWS_REGION", "us-east-1"),
        "eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "eventName": "ObjectCreated:Put",
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": args.bucket, "arn": f"arn:aws:s3:::{args.bucket}"},
            "object": {
                "key": quote_plus(args.key, safe="/-_.*"),  # S3 sends keys as a form field would
                "size": len(content),
                "eTag": hashlib.md5(content).hexdigest(),
                "sequencer": f"{time.time_ns():018X}",
            },
        },
    }
    sqs("SendMessage", QueueUrl=args.queue_url, MessageBody=json.dumps({"Records": [record]}))


def receive_message(args):
    answer = sqs("ReceiveMessage", QueueUrl=args.queue_url, MaxNumberOfMessages=1, WaitTimeSeconds=0,
                 AttributeNames=["All"], MessageAttributeNames=["All"])
    for message in answer.get("Messages", []):
        print(json.dumps(message, ensure_ascii=False))


def purge_queue(args):
    sqs("PurgeQueue", QueueUrl=args.queue_url)


def queue_attributes(args):
    for name, value in sorted(attributes_of(args.queue_url).items()):
        print(f"{name}={value}")


def wait_drained(args):
    counts = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible", "ApproximateNumberOfMessagesDelayed")
    deadline = time.monotonic() + args.seconds
    while True:
        attributes = attributes_of(args.queue_url)
        left = sum(int(attributes.get(count, 0)) for count in counts)
        if left == 0:
            return
        if time.monotonic() > deadline:
            sys.exit(f"aws.py: {left} messages are still in {args.queue_url} after {args.seconds} seconds")
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(usage="aws.py COMMAND ..., see aws.py --help", add_help=False)
    parser.add_argument("-h", "--help", action="store_true")
    commands = parser.add_subparsers(dest="command")

    def command(function, *arguments: str):
        name = function.__name__.replace("_", "-")
        sub = commands.add_parser(name, usage=f"aws.py {name} ..., see aws.py --help")
        for argument in arguments:
            sub.add_argument(argument)
        sub.set_defaults(function=function)
        return sub

    command(create_bucket, "bucket")
    command(put_object, "bucket", "key", "file")
    command(get_object, "bucket", "key")
    command(list_objects, "bucket").add_argument("prefix", nargs="?", default="")
    queue = command(create_queue, "name")
    queue.add_argument("--dlq")
    queue.add_argument("--max-receive-count", type=int, default=5)
    queue.add_argument("--visibility", type=int, default=30)
    command(send_message, "queue_url", "body")
    command(notify, "queue_url", "bucket", "key", "file")
    command(receive_message, "queue_url")
    command(purge_queue, "queue_url")
    command(queue_attributes, "queue_url")
    command(wait_drained, "queue_url").add_argument("seconds", type=float)

    args = parser.parse_args()
    if args.help or not args.command:
        print(__doc__)
        sys.exit(0 if args.help else 2)
    args.function(args)


if __name__ == "__main__":
    main()
