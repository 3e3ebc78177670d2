# One page that answers: does it keep up, what fails, are the machines well?

locals {
  alarm_arns = [
    for alarm in [
      aws_cloudwatch_metric_alarm.queue_depth, aws_cloudwatch_metric_alarm.message_age,
      aws_cloudwatch_metric_alarm.dead_letters, aws_cloudwatch_metric_alarm.in_flight,
      aws_cloudwatch_metric_alarm.no_progress, aws_cloudwatch_metric_alarm.unhealthy,
      aws_cloudwatch_metric_alarm.errors,
    ] : alarm.arn
  ]

  # Each worker has metrics of its own by InstanceId, and instances come and go: only a search finds them all.
  worker_search = "SEARCH('{FileProcessor/Worker,InstanceId} MetricName=\"%s\"', '%s', 300)"

  dashboard_graphs = [
    {
      title = "Messages"
      metrics = [
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", aws_sqs_queue.files.name, { label = "waiting" }],
        ["AWS/SQS", "ApproximateNumberOfMessagesNotVisible", "QueueName", aws_sqs_queue.files.name, { label = "in work" }],
        ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", aws_sqs_queue.dead_letters.name, { label = "dead letters" }],
      ]
      stat = "Average"
    },
    {
      title   = "Age of the oldest message (s)"
      metrics = [["AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", aws_sqs_queue.files.name, { label = "oldest" }]]
      stat    = "Maximum"
    },
    {
      title = "Messages in and out (5 minutes)"
      metrics = [
        ["AWS/SQS", "NumberOfMessagesSent", "QueueName", aws_sqs_queue.files.name, { label = "in" }],
        ["AWS/SQS", "NumberOfMessagesDeleted", "QueueName", aws_sqs_queue.files.name, { label = "out" }],
      ]
      stat = "Sum"
    },
    {
      title = "Documents (5 minutes)"
      metrics = [
        [{ expression = "SUM(${format(local.worker_search, "ProcessingSuccess", "Sum")})", label = "success", id = "success" }],
        [{ expression = "SUM(${format(local.worker_search, "ProcessingFailure", "Sum")})", label = "failure", id = "failure" }],
      ]
      stat = "Sum"
    },
    {
      title   = "Seconds per document"
      metrics = [[{ expression = "AVG(${format(local.worker_search, "ProcessingTime", "Average")})", label = "mean", id = "mean" }]]
      stat    = "Average"
    },
    {
      title = "Instances"
      metrics = [
        ["AWS/AutoScaling", "GroupDesiredCapacity", "AutoScalingGroupName", aws_autoscaling_group.worker.name, { label = "wanted" }],
        ["AWS/AutoScaling", "GroupInServiceInstances", "AutoScalingGroupName", aws_autoscaling_group.worker.name, { label = "in service" }],
        ["AWS/AutoScaling", "GroupPendingInstances", "AutoScalingGroupName", aws_autoscaling_group.worker.name, { label = "pending" }],
      ]
      stat = "Average"
    },
    {
      title   = "Processor (%)"
      metrics = [["AWS/EC2", "CPUUtilization", "AutoScalingGroupName", aws_autoscaling_group.worker.name, { label = "busy" }]]
      stat    = "Average"
    },
    {
      title = "Memory and disk (%)"
      metrics = [
        ["FileProcessor", "MEM_USED", "AutoScalingGroupName", aws_autoscaling_group.worker.name, { label = "memory" }],
        ["FileProcessor", "DISK_USED", "AutoScalingGroupName", aws_autoscaling_group.worker.name, { label = "disk" }],
      ]
      stat = "Maximum"
    },
  ]
}

resource "aws_cloudwatch_dashboard" "worker" {
  dashboard_name = var.name_prefix
  dashboard_body = jsonencode({
    widgets = concat(
      [{
        type       = "alarm", x = 0, y = 0, width = 24, height = 3
        properties = { title = "Alarms", alarms = local.alarm_arns }
      }],
      [for index, graph in local.dashboard_graphs : {
        type = "metric", x = (index % 3) * 8, y = 3 + floor(index / 3) * 6, width = 8, height = 6
        properties = {
          title = graph.title, metrics = graph.metrics, stat = graph.stat, region = var.aws_region, period = 300, view = "timeSeries"
        }
      }],
      [{
        type = "log", x = 0, y = 21, width = 24, height = 6
        properties = {
          title  = "What a person must look at"
          region = var.aws_region
          view   = "table"
          query  = "SOURCE '${aws_cloudwatch_log_group.worker.name}' | fields @timestamp, @logStream, message, key, reason, error | filter level = 'ERROR' | sort @timestamp desc | limit 50"
        }
      }],
    )
  })
}
