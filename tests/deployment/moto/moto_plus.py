#!/usr/bin/env python3
"""moto_server with what a worker fleet needs and moto 5.2.5 lacks; a stand-in for AWS on 127.0.0.1, for tests only.

    moto_plus.py -H 127.0.0.1 -p PORT        (the options of moto_server)

Written from AWS's documentation, so it proves that our calls and their order are right as documented, nothing about AWS
itself. It adds

  CloudWatch   PutCompositeAlarm (and AlarmRule in DescribeAlarms)
  SQS          the attribute RedriveAllowPolicy; SetQueueAttributes leaves the policy alone when it is not given
  S3           a bucket's EventBridge switch is read back, and its events have the documented shape
  EventBridge  input transformers for the events of S3
  AutoScaling  StartInstanceRefresh, DescribeInstanceRefreshes, CancelInstanceRefresh, RollbackInstanceRefresh,
               CompleteLifecycleAction, RecordLifecycleActionHeartbeat
  EC2          EnableImageDeprecation, DeleteLaunchTemplateVersions; snapshot tags in CreateImage; SourceVersion in
               CreateLaunchTemplateVersion
  and what groups, policies and hooks must answer for a plan without drift

Each DescribeInstanceRefreshes advances the refresh by one status. Which ones: the group's tag test:refresh ("Pending
InProgress RollbackInProgress RollbackSuccessful"), else the variable MOTO_PLUS_REFRESH, else "Pending InProgress
Successful". InProgress replaces the group's instances by new ones of the desired configuration, which the group itself
has from Successful on; RollbackSuccessful replaces them by ones of the group's own. As AWS does, it refuses AutoRollback
without DesiredConfiguration and with $Latest or $Default.
"""

import json
import os
import re
import uuid
from datetime import datetime, timezone

from moto.autoscaling.exceptions import AutoscalingClientError
from moto.autoscaling.models import FakeAutoScalingGroup, FakeScalingPolicy, InstanceState, LifecycleHook
from moto.autoscaling.responses import AutoScalingResponse
from moto.cloudwatch.models import Alarm
from moto.cloudwatch.responses import CloudWatchResponse
from moto.core.responses import ActionResult, EmptyResult
from moto.core.types import Base64EncodedString
from moto.ec2.models.amis import AmiBackend
from moto.ec2.models.launch_templates import LaunchTemplateVersion
from moto.ec2.responses import EC2Response
from moto.events.models import events_backends
from moto.s3 import notifications
from moto.s3.responses import S3Response
from moto.sqs import sqs_backends
from moto.sqs.models import Queue

REFRESHES: dict[str, list[dict]] = {}
TERMINAL = {"Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed"}


def now():
    return datetime.now(timezone.utc)


def refuse(code, message):
    raise AutoscalingClientError(code, message)


# --- CloudWatch
CloudWatchResponse.put_composite_alarm = CloudWatchResponse.put_metric_alarm
Alarm.alarm_rule = property(lambda self: self.rule)

# --- SQS
Queue.BASE_ATTRIBUTES.append("RedriveAllowPolicy")
Queue.redrive_allow_policy = None
_set = Queue._set_attributes


def _set_attributes(self, attributes, now=None):
    kept = getattr(self, "policy", None)
    _set(self, attributes, now)
    if "Policy" not in attributes:
        self.policy = kept


Queue._set_attributes = _set_attributes
_attrs = Queue.attributes.fget


def attributes(self):
    shown = {k: v for k, v in _attrs(self).items() if v not in (None, "")}
    if shown.get("RedrivePolicy"):   # compact, as Terraform's jsonencode writes it
        shown["RedrivePolicy"] = json.dumps(json.loads(shown["RedrivePolicy"]), separators=(",", ":"))
    return shown


Queue.attributes = property(attributes)


# --- S3 and EventBridge
_get_notification = S3Response.get_bucket_notification


def get_bucket_notification(self):
    """moto keeps EventBridgeConfiguration and does not show it. No test of ours has other notifications beside it."""
    found = self.backend.get_bucket_notification_configuration(self.bucket_name)
    if not found or found.event_bridge is None:
        return _get_notification(self)
    self.data["Action"] = "GetBucketNotificationConfiguration"
    return self.serialized(ActionResult({"EventBridgeConfiguration": {}}))


def object_event(account_id, bucket, event_name, key):
    """As in the Amazon S3 user guide, "EventBridge event message structure"."""
    stored = {"key": key.name, "sequencer": "617F08299329D189"}
    if "ObjectCreated" in event_name:
        stored |= {"size": key.size, "etag": key.etag.replace('"', "")}
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": notifications._detail_type(event_name),
        "source": "aws.s3",
        "account": account_id,
        "time": now().strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": bucket.region_name,
        "resources": [bucket.arn],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket.name},
            "object": stored,
            "reason": event_name.split(":")[1],
        },
    }


def at_path(event, path):
    for name in path.removeprefix("$.").split("."):
        event = event.get(name) if isinstance(event, dict) else None
    return event


def transformed(event, transformer):
    """As in the EventBridge user guide, "Input transformation": a variable that stands in the template without quotes
    becomes the JSON value; one inside a string becomes its text."""
    values = {name: at_path(event, path) for name, path in transformer.get("InputPathsMap", {}).items()}
    template = transformer["InputTemplate"]

    def value(match):
        if match["name"] not in values:
            return match[0]
        text = json.dumps(values[match["name"]], ensure_ascii=False)
        within_string = len(re.findall(r'(?<!\\)"', template[: match.start()])) % 2 == 1
        return text.strip('"') if within_string else text

    return re.sub(r"<(?P<name>[\w.-]+)>", value, template)


def send_object_event(account_id, bucket, event_name, key):
    event = object_event(account_id, bucket, event_name, key)
    backend = events_backends[account_id][bucket.region_name]
    for rule in (rule for bus in backend.event_buses.values() for rule in bus.rules.values()):
        if not rule.event_pattern.matches_event(event):
            continue
        for target in rule.targets:
            transformer = target.get("InputTransformer")
            body = transformed(event, transformer) if transformer else json.dumps(event, ensure_ascii=False)
            queue = target["Arn"].rsplit(":", 1)[1]
            sqs_backends[account_id][bucket.region_name].send_message(queue_name=queue, message_body=body)


S3Response.get_bucket_notification = get_bucket_notification
notifications._send_event_bridge_message = send_object_event


# --- Auto Scaling
def _group(self):
    name = self._get_param("AutoScalingGroupName")
    found = self.autoscaling_backend.describe_auto_scaling_groups([name])
    if not found:
        refuse("ValidationError", f"AutoScalingGroup name not found - {name}")
    return name, found[0]


def _active(name):
    return next((r for r in REFRESHES.get(name, []) if r["Status"] not in TERMINAL), None)


def adopt(group, desired):
    """A refresh that succeeded makes its desired configuration the group's."""
    if desired.get("LaunchTemplate"):
        group._set_launch_configuration(None, desired["LaunchTemplate"], None)
    if desired.get("MixedInstancesPolicy"):
        given = desired["MixedInstancesPolicy"]["LaunchTemplate"]
        kept = (group.mixed_instances_policy or {}).get("LaunchTemplate", {})
        policy = {**(group.mixed_instances_policy or {}), **desired["MixedInstancesPolicy"]}
        group.mixed_instances_policy = {**policy, "LaunchTemplate": {**kept, **given}}
        group._set_launch_configuration(None, None, group.mixed_instances_policy)


def replace_instances(group, desired):
    """Launches as many as are wanted before the old ones go. What the group says of itself stays as it is."""
    own = group.mixed_instances_policy, group.ec2_launch_template, group.launch_template_version
    old, group.instance_states = group.instance_states, []
    adopt(group, desired)
    group.replace_autoscaling_group_instances(group.desired_capacity, group.get_propagated_tags())
    group.mixed_instances_policy, group.ec2_launch_template, group.launch_template_version = own
    group.ec2_backend.terminate_instances([state.instance.id for state in old])


def advance(group, refresh):
    refresh["Status"] = refresh["_script"].pop(0)
    if refresh["Status"] == "InProgress" and refresh["InstancesToUpdate"]:
        replace_instances(group, refresh["DesiredConfiguration"])
        refresh["InstancesToUpdate"], refresh["PercentageComplete"] = 0, 100
    if refresh["Status"] == "RollbackSuccessful":
        replace_instances(group, {})
    if refresh["Status"] == "Successful":
        adopt(group, refresh["DesiredConfiguration"])
    if refresh["Status"] in TERMINAL:
        refresh["EndTime"] = now()
        refresh["_script"] = []


def start_instance_refresh(self):
    name, group = _group(self)
    preferences = self._get_param("Preferences", {}) or {}
    desired = self._get_param("DesiredConfiguration", {}) or {}
    if _active(name):
        refuse("InstanceRefreshInProgress", f"An Instance Refresh is already in progress for {name}")
    if str(preferences.get("AutoRollback")).lower() == "true":
        template = desired.get("LaunchTemplate") or (
            (desired.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}
        ).get("LaunchTemplateSpecification")
        if not template:
            refuse("ValidationError", "AutoRollback requires a DesiredConfiguration")
        for version in (template.get("Version"), group.launch_template_version):
            if version in ("$Latest", "$Default"):
                refuse("ValidationError", f"AutoRollback cannot be used with launch template version {version}")
    tags = {t.get("Key", t.get("key")): t.get("Value", t.get("value")) for t in group.tags or []}
    script = tags.get("test:refresh") or os.environ.get("MOTO_PLUS_REFRESH") or "Pending InProgress Successful"
    refresh = {
        "InstanceRefreshId": str(uuid.uuid4()), "AutoScalingGroupName": name,
        "Status": "Pending", "StartTime": now(), "PercentageComplete": 0,
        "InstancesToUpdate": len(group.instance_states), "Preferences": preferences,
        "DesiredConfiguration": desired, "_script": script.replace(",", " ").split(),
    }
    REFRESHES.setdefault(name, []).insert(0, refresh)
    return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})


def describe_instance_refreshes(self):
    name, group = _group(self)
    wanted = self._get_param("InstanceRefreshIds", []) or []
    shown = []
    for refresh in REFRESHES.get(name, []):
        if wanted and refresh["InstanceRefreshId"] not in wanted:
            continue
        if refresh["_script"]:
            advance(group, refresh)
        shown.append({k: v for k, v in refresh.items() if k != "_script"})
    return ActionResult({"InstanceRefreshes": shown})


def _stop(status, missing):
    def stop(self):
        name, _ = _group(self)
        refresh = _active(name)
        if not refresh:
            refuse("ActiveInstanceRefreshNotFound", missing)
        refresh["_script"] = status.split()
        return ActionResult({"InstanceRefreshId": refresh["InstanceRefreshId"]})
    return stop


def complete_lifecycle_action(self):
    name, _ = _group(self)
    hook = self._get_param("LifecycleHookName")
    hooks = [h.name for h in self.autoscaling_backend.describe_lifecycle_hooks(name)]
    if hook not in hooks:
        refuse("ValidationError", f"No active Lifecycle Action found with hook {hook}")
    return EmptyResult()


AutoScalingResponse.start_instance_refresh = start_instance_refresh
AutoScalingResponse.describe_instance_refreshes = describe_instance_refreshes
NO_REFRESH = "No in progress or pending Instance Refresh found"
AutoScalingResponse.cancel_instance_refresh = _stop("Cancelling Cancelled", NO_REFRESH)
AutoScalingResponse.rollback_instance_refresh = _stop("RollbackInProgress RollbackSuccessful", NO_REFRESH)
AutoScalingResponse.complete_lifecycle_action = complete_lifecycle_action
AutoScalingResponse.record_lifecycle_action_heartbeat = complete_lifecycle_action


# What a second `terraform plan` must read back to find no drift
_update_group = FakeAutoScalingGroup.update


def update_group(self, *args, **kwargs):
    kept = self.mixed_instances_policy
    given = kwargs.get("mixed_instances_policy") or kwargs.get("launch_template")
    _update_group(self, *args, **kwargs)
    if not given:
        self.mixed_instances_policy = kept


def _keeping(method):
    def call(self):
        result = method(self)
        _, group = _group(self)
        for param, attr in (("DefaultInstanceWarmup", "default_instance_warmup"),
                            ("InstanceMaintenancePolicy", "instance_maintenance_policy")):
            if self._get_param(param) is not None:
                setattr(group, attr, self._get_param(param))
        return result
    return call


_policy_init = FakeScalingPolicy.__init__


def policy_init(self, *args, **kwargs):
    _policy_init(self, *args, **kwargs)
    self.enabled = True
    if self.policy_type != "PredictiveScaling":
        self.predictive_scaling_configuration = None


_hook_init = LifecycleHook.__init__


def hook_init(self, *args, **kwargs):
    _hook_init(self, *args, **kwargs)
    self.role_arn = self.notification_target_arn = None


_state_init = InstanceState.__init__


def state_init(self, *args, **kwargs):
    """moto shows all instances at the template's default version; an instance stays at the one it was started from."""
    _state_init(self, *args, **kwargs)
    template = self.auto_scaling_group.ec2_launch_template
    self.started_from = template and {
        "LaunchTemplateId": template.id, "LaunchTemplateName": template.name,
        "Version": str(template.get_version(self.auto_scaling_group.launch_template_version).number),
    }


InstanceState.__init__ = state_init
InstanceState.launch_template = property(lambda self: self.started_from)
FakeAutoScalingGroup.update = update_group
FakeScalingPolicy.__init__ = policy_init
LifecycleHook.__init__ = hook_init
AutoScalingResponse.create_auto_scaling_group = _keeping(AutoScalingResponse.create_auto_scaling_group)
AutoScalingResponse.update_auto_scaling_group = _keeping(AutoScalingResponse.update_auto_scaling_group)


# --- EC2
_create_image = AmiBackend.create_image


def create_image(self, instance_id, name, description, tag_specifications):
    image = _create_image(self, instance_id, name, description,
                          [t for t in tag_specifications if t["ResourceType"] != "snapshot"])
    for spec in tag_specifications:
        if spec["ResourceType"] == "snapshot":
            self.create_tags([image.ebs_snapshot.id], {t["Key"]: t["Value"] for t in spec["Tags"]})
    return image


AmiBackend.create_image = create_image
_version_init = LaunchTemplateVersion.__init__


def version_init(self, *args, **kwargs):
    _version_init(self, *args, **kwargs)
    if self.data.get("TagSpecifications"):   # the template's own tags are not part of its data
        self.data["TagSpecifications"] = [
            t for t in self.data["TagSpecifications"] if t.get("ResourceType") != "launch-template"]
    if isinstance(self.data.get("UserData"), str):   # the first version's is wrapped by moto, later ones are not
        self.data["UserData"] = Base64EncodedString(self.data["UserData"])


LaunchTemplateVersion.__init__ = version_init
_create_version = EC2Response.create_launch_template_version


def launch_template(backend, ident, name):
    return backend.get_launch_template(ident) if ident else backend.get_launch_template_by_name(name)


def create_launch_template_version(self):
    """moto forgets SourceVersion: start from that version's data as AWS does."""
    source = self._get_param("SourceVersion")
    result = _create_version(self)
    if source:
        ident, name = self._get_param("LaunchTemplateId"), self._get_param("LaunchTemplateName")
        template = launch_template(self.ec2_backend, ident, name)
        new = template.versions[-1]
        merged = {**template.get_version(source).data, **new.data}
        new.data.clear()
        new.data.update(merged)
    return result


EC2Response.create_launch_template_version = create_launch_template_version


def enable_image_deprecation(self):
    image = self.ec2_backend.describe_images(ami_ids=[self._get_param("ImageId")])[0]
    image.deprecation_time = self._get_param("DeprecateAt")
    return ActionResult({"Return": True})


def delete_launch_template_versions(self):
    backend, good, bad = self.ec2_backend, [], []
    ident = self._get_param("LaunchTemplateId")
    name = self._get_param("LaunchTemplateName")
    template = launch_template(backend, ident, name)
    for number in self._get_param("Versions", []):
        row = {"LaunchTemplateId": template.id, "LaunchTemplateName": template.name, "VersionNumber": int(number)}
        version = next((v for v in template.versions if v.number == int(number)), None)
        if version is None or template.is_default(version):
            code = "launchTemplateVersionDoesNotExist" if version is None else "unexpectedError"
            bad.append({**row, "ResponseError": {"Code": code, "Message": "default or missing"}})
        else:
            version.data, version.deleted = {}, True   # numbering is positional in moto: keep the slot
            good.append(row)
    return ActionResult({
        "SuccessfullyDeletedLaunchTemplateVersions": good,
        "UnsuccessfullyDeletedLaunchTemplateVersions": bad,
    })


EC2Response.enable_image_deprecation = enable_image_deprecation
EC2Response.delete_launch_template_versions = delete_launch_template_versions

if __name__ == "__main__":
    from moto.server import main
    main()
