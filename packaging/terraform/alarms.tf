# Conditions that somebody has to know of. Every one says in its description what to do first.

locals {
  queue_dimensions       = { QueueName = aws_sqs_queue.files.name }
  dead_letter_dimensions = { QueueName = aws_sqs_queue.dead_letters.name }
  group_dimensions       = { AutoScalingGroupName = aws_autoscaling_group.worker.name }
}

resource "aws_cloudwatch_metric_alarm" "queue_depth" {
  alarm_name          = "${var.name_prefix}-queue-depth"
  alarm_description   = "More than ${var.alarm_queue_depth} messages wait; the emergency policy adds instances. Nothing to do unless it stays: then see whether the group is at max_size."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = local.queue_dimensions
  statistic           = "Average"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_queue_depth
  treat_missing_data  = "notBreaching"
  alarm_actions       = concat([aws_autoscaling_policy.emergency.arn], var.alarm_topic_arns)
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "message_age" {
  alarm_name          = "${var.name_prefix}-message-age"
  alarm_description   = "The oldest message waits for more than ${var.alarm_message_age_seconds} s. See whether instances are in service and documents get finished: debug-worker.sh on one of them."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateAgeOfOldestMessage"
  dimensions          = local.queue_dimensions
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_message_age_seconds
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "dead_letters" {
  alarm_name          = "${var.name_prefix}-dead-letters"
  alarm_description   = "${var.alarm_dlq_depth} or more messages are in the dead-letter queue. Their attribute reason says why; when the cause is gone, move them back: packaging/OPERATIONS.md, DLQ."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = local.dead_letter_dimensions
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.alarm_dlq_depth
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "in_flight" {
  alarm_name          = "${var.name_prefix}-in-flight"
  alarm_description   = "More than ${var.alarm_in_flight} messages are in flight; at about 120,000 receives stay empty without an error. See which consumer takes messages and neither deletes nor returns them."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesNotVisible"
  dimensions          = local.queue_dimensions
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.alarm_in_flight
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

resource "aws_cloudwatch_metric_alarm" "no_progress" {
  alarm_name          = "${var.name_prefix}-no-progress"
  alarm_description   = "Messages wait and none was finished for ${var.alarm_no_progress_minutes} minutes. A dependency is down, or no instance is ready: the workers' STATUS line says which."
  evaluation_periods  = var.alarm_no_progress_minutes / 5
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns

  metric_query {
    id          = "standstill"
    label       = "Messages wait and none is finished"
    expression  = "IF(waiting > 0 AND FILL(finished, 0) == 0, 1, 0)"
    return_data = true
  }
  metric_query {
    id = "waiting"
    metric {
      namespace   = "AWS/SQS"
      metric_name = "ApproximateNumberOfMessagesVisible"
      dimensions  = local.queue_dimensions
      stat        = "Minimum"
      period      = 300
    }
  }
  metric_query {
    id = "finished"
    metric {
      namespace   = "AWS/SQS"
      metric_name = "NumberOfMessagesDeleted"
      dimensions  = local.queue_dimensions
      stat        = "Sum"
      period      = 300
    }
  }
}

# ERROR is what a person must act on; a bad file is none.
resource "aws_cloudwatch_log_metric_filter" "errors" {
  name           = "${var.name_prefix}-errors"
  log_group_name = aws_cloudwatch_log_group.worker.name
  pattern        = "{ $.level = \"ERROR\" }"
  metric_transformation {
    namespace     = "FileProcessor"
    name          = "LogErrors"
    value         = "1"
    default_value = "0"
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  alarm_name          = "${var.name_prefix}-errors"
  alarm_description   = "Workers logged ${var.alarm_errors} or more lines of level ERROR in 5 minutes. The dashboard shows them; each says what must be mended."
  namespace           = aws_cloudwatch_log_metric_filter.errors.metric_transformation[0].namespace
  metric_name         = aws_cloudwatch_log_metric_filter.errors.metric_transformation[0].name
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.alarm_errors
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
}

# An instance whose user data fails never comes into service: the group starts the next one, for ever.
resource "aws_cloudwatch_metric_alarm" "unhealthy" {
  alarm_name          = "${var.name_prefix}-unhealthy"
  alarm_description   = "For 15 minutes fewer instances are in service than wanted. See the group's activities, and /var/log/user-data.log in the stream INSTANCE-userdata or the instance's console output."
  evaluation_periods  = 15
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns

  metric_query {
    id          = "lacking"
    label       = "Instances wanted and not in service"
    expression  = "wanted - in_service"
    return_data = true
  }
  metric_query {
    id = "wanted"
    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupDesiredCapacity"
      dimensions  = local.group_dimensions
      stat        = "Minimum"
      period      = 60
    }
  }
  metric_query {
    id = "in_service"
    metric {
      namespace   = "AWS/AutoScaling"
      metric_name = "GroupInServiceInstances"
      dimensions  = local.group_dimensions
      stat        = "Maximum"
      period      = 60
    }
  }
}

# For instance refreshes only, so it tells nobody. A new image that does not start is given up by the launch hook; this
# one catches an image that starts and then refuses files. The alarms above would not do: an alarm that is on refuses
# the very refresh that brings the remedy. Copies by workers are counted; what is in the queue already is not.
resource "aws_cloudwatch_metric_alarm" "refresh_guard" {
  alarm_name          = "${var.name_prefix}-refresh-guard"
  alarm_description   = "Workers dead-lettered ${var.alarm_refresh_dead_letters} or more messages in 5 minutes. Rolls back an instance refresh that is going on."
  namespace           = "AWS/SQS"
  metric_name         = "NumberOfMessagesSent"
  dimensions          = local.dead_letter_dimensions
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = var.alarm_refresh_dead_letters
  treat_missing_data  = "notBreaching"
}
