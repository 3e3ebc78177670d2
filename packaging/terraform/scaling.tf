# How many instances: as many as the backlog needs, more in an emergency, and by the clock.

resource "aws_autoscaling_policy" "backlog" {
  name                   = "${var.name_prefix}-backlog-per-instance"
  autoscaling_group_name = aws_autoscaling_group.worker.name
  policy_type            = "TargetTrackingScaling"

  target_tracking_configuration {
    target_value = var.acceptable_latency_seconds / var.seconds_per_message

    customized_metric_specification {
      metrics {
        id          = "backlog_per_instance"
        label       = "Messages waiting or in work, per instance in service"
        expression  = "(visible + in_flight) / IF(in_service > 0, in_service, 1)"
        return_data = true
      }
      metrics {
        id          = "visible"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "AWS/SQS"
            metric_name = "ApproximateNumberOfMessagesVisible"
            dimensions {
              name  = "QueueName"
              value = aws_sqs_queue.files.name
            }
          }
        }
      }
      # Messages in work count: without them the group would shrink while its instances are busy with the last ones.
      metrics {
        id          = "in_flight"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "AWS/SQS"
            metric_name = "ApproximateNumberOfMessagesNotVisible"
            dimensions {
              name  = "QueueName"
              value = aws_sqs_queue.files.name
            }
          }
        }
      }
      metrics {
        id          = "in_service"
        return_data = false
        metric_stat {
          stat = "Average"
          metric {
            namespace   = "AWS/AutoScaling"
            metric_name = "GroupInServiceInstances"
            dimensions {
              name  = "AutoScalingGroupName"
              value = aws_autoscaling_group.worker.name
            }
          }
        }
      }
    }
  }
}

resource "aws_autoscaling_policy" "emergency" {
  name                     = "${var.name_prefix}-emergency-scale-out"
  autoscaling_group_name   = aws_autoscaling_group.worker.name
  policy_type              = "StepScaling"
  adjustment_type          = "PercentChangeInCapacity"
  min_adjustment_magnitude = 1
  metric_aggregation_type  = "Average"

  step_adjustment {
    scaling_adjustment          = 50
    metric_interval_lower_bound = 0
    metric_interval_upper_bound = 500
  }
  step_adjustment {
    scaling_adjustment          = 100
    metric_interval_lower_bound = 500
  }
}

resource "aws_autoscaling_schedule" "worker" {
  for_each               = var.schedules
  scheduled_action_name  = each.key
  autoscaling_group_name = aws_autoscaling_group.worker.name
  recurrence             = each.value.recurrence
  time_zone              = var.schedule_time_zone
  min_size               = each.value.min_size
  max_size               = var.max_size
  desired_capacity       = each.value.desired_capacity
}
