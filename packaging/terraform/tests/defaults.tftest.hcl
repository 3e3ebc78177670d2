# The module with the example's values is the deployment that operators know. Nothing is created:
#   terraform test -var-file=terraform.tfvars.example

mock_provider "aws" {
  source = "./tests/mocks"
}

run "the_instances" {
  assert {
    condition     = aws_launch_template.worker.instance_type == "c5.xlarge" && aws_launch_template.worker.monitoring[0].enabled
    error_message = "c5.xlarge with detailed monitoring"
  }
  assert {
    condition = alltrue([
      aws_launch_template.worker.metadata_options[0].http_tokens == "required",
      aws_launch_template.worker.metadata_options[0].http_put_response_hop_limit == 1,
      aws_launch_template.worker.metadata_options[0].http_endpoint == "enabled",
    ])
    error_message = "IMDSv2 only, one hop"
  }
  assert {
    condition = alltrue([
      aws_launch_template.worker.block_device_mappings[0].ebs[0].volume_type == "gp3",
      aws_launch_template.worker.block_device_mappings[0].ebs[0].volume_size == 30,
      aws_launch_template.worker.block_device_mappings[0].ebs[0].iops == 3000,
      aws_launch_template.worker.block_device_mappings[0].ebs[0].throughput == 125,
      aws_launch_template.worker.block_device_mappings[0].ebs[0].encrypted == "true",
    ])
    error_message = "gp3, 30 GB, 3000 IOPS, 125 MB/s, encrypted"
  }
  assert {
    condition = alltrue([for kind in aws_launch_template.worker.tag_specifications : alltrue([
      for name in ["Environment", "Application", "GitCommit"] : contains(keys(kind.tags), name)
    ])]) && length(aws_launch_template.worker.tag_specifications) == 3
    error_message = "instances, volumes and interfaces have the three tags"
  }

  assert {
    condition     = length(base64decode(aws_launch_template.worker.user_data)) < 16384
    error_message = "EC2 takes 16,384 bytes of user data"
  }
  assert {
    condition     = strcontains(base64decode(aws_launch_template.worker.user_data), "\n#!/bin/bash\n")
    error_message = "the script's first line is not a comment"
  }
  assert {
    condition = yamldecode(base64decode(trimspace(regex(
      "settings.yaml\"\\n\\n([A-Za-z0-9+/=]+)\\n", base64decode(aws_launch_template.worker.user_data)
      )[0]))).write_files[0] == {
      path        = "/run/file-processor/settings"
      owner       = "root:root"
      permissions = "0600"
      content     = join("", [for name, value in local.settings : "${name}=${value}\n"])
    }
    error_message = "the settings are a file that only root reads"
  }
  assert {
    condition     = local.settings.MAX_PDF_PAGES == "1000" && local.settings.LIFECYCLE_HOOK_NAME == "file-processor-termination"
    error_message = "worker_environment and the drain's hook reach the worker"
  }
  assert {
    condition     = !contains(keys(local.settings), "AUTO_SCALING_GROUP_NAME")
    error_message = "a blue/green deployment uses the template in another group: the instance finds out its group itself"
  }
}

run "the_group" {
  assert {
    condition = alltrue([
      aws_autoscaling_group.worker.min_size == 1, aws_autoscaling_group.worker.desired_capacity == 2,
      aws_autoscaling_group.worker.max_size == 10, aws_autoscaling_group.worker.health_check_grace_period == 300,
      aws_autoscaling_group.worker.capacity_rebalance,
    ])
    error_message = "1 - 2 - 10, 300 s of grace, capacity rebalancing"
  }
  assert {
    condition     = aws_autoscaling_group.worker.mixed_instances_policy[0].launch_template[0].launch_template_specification[0].version == "7"
    error_message = "the version is a number: automatic rollback is refused with $Latest"
  }
  assert {
    condition = alltrue([
      aws_autoscaling_group.worker.instance_refresh[0].preferences[0].auto_rollback,
      aws_autoscaling_group.worker.instance_refresh[0].preferences[0].min_healthy_percentage == 100,
      aws_autoscaling_group.worker.instance_refresh[0].preferences[0].max_healthy_percentage > 100,
      aws_autoscaling_group.worker.instance_refresh[0].preferences[0].alarm_specification[0].alarms == tolist(["file-processor-refresh-guard"]),
    ])
    error_message = "launch before terminate, roll back by itself, guarded by an alarm"
  }
  assert {
    condition     = contains(aws_autoscaling_group.worker.enabled_metrics, "GroupInServiceInstances") && contains(aws_autoscaling_group.worker.enabled_metrics, "GroupDesiredCapacity")
    error_message = "scaling and the alarms need these two metrics of the group"
  }
  assert {
    condition = alltrue([for metric in aws_autoscaling_group.worker.enabled_metrics : contains([
      "GroupMinSize", "GroupMaxSize", "GroupDesiredCapacity", "GroupInServiceInstances", "GroupPendingInstances",
      "GroupStandbyInstances", "GroupTerminatingInstances", "GroupTotalInstances",
    ], metric)])
    error_message = "only metrics that Auto Scaling knows"
  }
  assert {
    condition = alltrue([
      aws_autoscaling_lifecycle_hook.worker["file-processor-launch"].default_result == "ABANDON",
      aws_autoscaling_lifecycle_hook.worker["file-processor-launch"].lifecycle_transition == "autoscaling:EC2_INSTANCE_LAUNCHING",
      aws_autoscaling_lifecycle_hook.worker["file-processor-termination"].default_result == "CONTINUE",
      aws_autoscaling_lifecycle_hook.worker["file-processor-termination"].lifecycle_transition == "autoscaling:EC2_INSTANCE_TERMINATING",
    ])
    error_message = "an instance that reports nothing is given up when it comes, and let go when it goes"
  }
  assert {
    condition     = toset(aws_autoscaling_group.worker.initial_lifecycle_hook[*].name) == toset(keys(aws_autoscaling_lifecycle_hook.worker))
    error_message = "the first instances have the same hooks"
  }

  assert {
    condition     = aws_autoscaling_policy.backlog.target_tracking_configuration[0].target_value == 100
    error_message = "600 s of latency by 6 s a message are 100 messages per instance"
  }
  assert {
    condition = length([
      for metric in aws_autoscaling_policy.backlog.target_tracking_configuration[0].customized_metric_specification[0].metrics :
      metric if metric.return_data
    ]) == 1
    error_message = "exactly one of the metrics is the result"
  }
  assert {
    condition     = aws_autoscaling_policy.emergency.min_adjustment_magnitude == 1 && aws_autoscaling_policy.emergency.adjustment_type == "PercentChangeInCapacity"
    error_message = "50 % of one instance is one more, not none"
  }
  assert {
    condition     = contains(aws_cloudwatch_metric_alarm.queue_depth.alarm_actions, aws_autoscaling_policy.emergency.arn)
    error_message = "the depth alarm starts the emergency policy"
  }
  assert {
    condition = alltrue([for schedule in aws_autoscaling_schedule.worker : schedule.time_zone == "Asia/Tokyo"]) && (
      aws_autoscaling_schedule.worker["scale-up-morning"].recurrence == "0 8 * * MON-FRI" &&
      aws_autoscaling_schedule.worker["scale-down-evening"].recurrence == "0 20 * * *"
    )
    error_message = "8:00 on weekdays and 20:00 every day, in Japan"
  }
}

run "the_queue_and_its_events" {
  assert {
    condition     = jsondecode(aws_sqs_queue.files.redrive_policy).maxReceiveCount >= 5
    error_message = "fewer receives would dead-letter good files on spot instances"
  }
  assert {
    condition     = jsondecode(aws_sqs_queue_redrive_allow_policy.dead_letters.redrive_allow_policy).redrivePermission == "byQueue"
    error_message = "only our queue may use the dead-letter queue"
  }
  assert {
    condition     = aws_sqs_queue.files.sqs_managed_sse_enabled && aws_sqs_queue.dead_letters.sqs_managed_sse_enabled
    error_message = "both queues are encrypted"
  }
  assert {
    condition = toset(flatten([for statement in data.aws_iam_policy_document.files_queue.statement : [
      for principal in statement.principals : principal.identifiers if statement.effect != "Deny"
    ]])) == toset(["events.amazonaws.com", "s3.amazonaws.com"])
    error_message = "EventBridge and S3 may send, and nobody else by the queue's policy"
  }

  assert {
    condition = jsondecode(replace(aws_cloudwatch_event_target.created.input_transformer[0].input_template, "/<([a-z]+)>/", "\"$1\"")) == {
      eventType          = "S3_OBJECT_CREATED"
      s3Bucket           = "bucket"
      s3Key              = "key"
      fileSize           = "size"
      etag               = "etag"
      eventTime          = "time"
      processingRequired = true
    }
    error_message = "the production message, with every variable outside of quotes"
  }
  assert {
    condition = (
      aws_cloudwatch_event_target.created.input_transformer[0].input_paths.etag == "$.detail.object.etag" &&
      length(aws_cloudwatch_event_target.changed_otherwise.input_transformer) == 0
    )
    error_message = "creations are transformed, removals are not"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.created.event_pattern).detail.bucket.name == ["cis-filesearch-storage"]
    error_message = "events of the source bucket"
  }
}

run "what_is_told_and_allowed" {
  assert {
    condition = alltrue([
      aws_cloudwatch_metric_alarm.queue_depth.threshold == 500, aws_cloudwatch_metric_alarm.message_age.threshold == 1800,
      aws_cloudwatch_metric_alarm.dead_letters.threshold == 10, aws_cloudwatch_metric_alarm.in_flight.threshold < 120000,
      aws_cloudwatch_log_group.worker.retention_in_days == 30,
    ])
    error_message = "the operators' thresholds"
  }
  assert {
    condition = alltrue([for alarm in [
      aws_cloudwatch_metric_alarm.queue_depth, aws_cloudwatch_metric_alarm.message_age, aws_cloudwatch_metric_alarm.dead_letters,
      aws_cloudwatch_metric_alarm.in_flight, aws_cloudwatch_metric_alarm.no_progress, aws_cloudwatch_metric_alarm.unhealthy, aws_cloudwatch_metric_alarm.errors,
    ] : contains(alarm.alarm_actions, "arn:aws:sns:ap-northeast-1:123456789012:file-processor-alarms")])
    error_message = "every alarm tells the operators"
  }
  assert {
    condition = aws_cloudwatch_metric_alarm.errors.metric_name == "LogErrors" && aws_cloudwatch_metric_alarm.errors.namespace == "FileProcessor" && (
      aws_cloudwatch_log_metric_filter.errors.pattern == "{ $.level = \"ERROR\" }"
    )
    error_message = "ERROR lines of the log are counted"
  }
  assert {
    condition = alltrue([for name in ["ProcessingSuccess", "ProcessingFailure", "ProcessingTime", "MEM_USED", "DISK_USED"] :
    strcontains(aws_cloudwatch_dashboard.worker.dashboard_body, name)])
    error_message = "the dashboard shows what worker and agent send"
  }
  assert {
    condition     = alltrue([for widget in jsondecode(aws_cloudwatch_dashboard.worker.dashboard_body).widgets : widget.x + widget.width <= 24])
    error_message = "a dashboard is 24 columns wide"
  }

  assert {
    condition     = [for rule in aws_vpc_security_group_egress_rule.worker : rule.to_port] == [443]
    error_message = "HTTPS out and nothing else"
  }

  assert {
    condition = toset(one([for s in data.aws_iam_policy_document.worker.statement : s.actions if s.sid == "Queue"])) == toset([
      "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage",
    ])
    error_message = "the queue's six actions"
  }
  assert {
    condition     = toset([for s in data.aws_iam_policy_document.worker.statement : s.sid if contains(s.resources, "*")]) == toset(["Metrics", "Sessions"])
    error_message = "only actions that know no resources are allowed on all"
  }
  assert {
    condition     = !anytrue([for s in data.aws_iam_policy_document.worker.statement : anytrue([for action in s.actions : strcontains(action, "*")])])
    error_message = "every action is named"
  }
  assert {
    condition = toset(one([for s in data.aws_iam_policy_document.worker.statement : s.resources if s.sid == "Index"])) == toset([
      "arn:aws:es:ap-northeast-1:123456789012:domain/files/cis-files-v2",
      "arn:aws:es:ap-northeast-1:123456789012:domain/files/cis-files-v2/*",
      "arn:aws:es:ap-northeast-1:123456789012:domain/files/cis-files-v2-smoke-test",
      "arn:aws:es:ap-northeast-1:123456789012:domain/files/cis-files-v2-smoke-test/*",
    ])
    error_message = "its index and that of the smoke test"
  }
  assert {
    condition = toset(flatten([for s in data.aws_iam_policy_document.worker.statement : [for c in s.condition : c.values] if s.sid == "Metrics"])) == toset([
      "FileProcessor", "FileProcessor/Worker",
    ])
    error_message = "metrics in our namespaces only"
  }
  assert {
    condition     = !contains(data.aws_iam_policy_document.worker.statement[*].sid, "Keys") && !contains(data.aws_iam_policy_document.worker.statement[*].sid, "IndexPassword")
    error_message = "no rights on keys and parameters that are not used"
  }
}
