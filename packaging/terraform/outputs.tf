# What other programs and people need to know of it.

output "queue_url" {
  description = "The queue (SQS_QUEUE_URL)."
  value       = aws_sqs_queue.files.url
}

output "queue_arn" {
  description = "For a bucket's own notifications, and for policies of producers."
  value       = aws_sqs_queue.files.arn
}

output "dlq_url" {
  description = "The dead-letter queue (DLQ_QUEUE_URL)."
  value       = aws_sqs_queue.dead_letters.url
}

output "launch_template_name" {
  description = "LAUNCH_TEMPLATE_NAME of scripts/deploy-new-ami.sh."
  value       = aws_launch_template.worker.name
}

output "launch_template_id" {
  description = "The launch template."
  value       = aws_launch_template.worker.id
}

output "launch_template_version" {
  description = "The newest version, that of the group after an apply."
  value       = aws_launch_template.worker.latest_version
}

output "asg_name" {
  description = "ASG_NAME of scripts/deploy-new-ami.sh."
  value       = aws_autoscaling_group.worker.name
}

output "refresh_alarm_names" {
  description = "Alarms that roll back an instance refresh."
  value       = [aws_cloudwatch_metric_alarm.refresh_guard.alarm_name]
}

output "thumbnail_bucket" {
  description = "The bucket of thumbnails (S3_THUMBNAIL_BUCKET)."
  value       = var.thumbnail_bucket
}

output "log_group_name" {
  description = "The log group."
  value       = aws_cloudwatch_log_group.worker.name
}

output "worker_role_arn" {
  description = "The instances' role, for the search domain's access policy and keys' policies."
  value       = aws_iam_role.worker.arn
}

output "operator_policy_arn" {
  description = "Policy for people who look after the dead-letter queue."
  value       = aws_iam_policy.operator.arn
}

output "security_group_id" {
  description = "The instances' security group; the search domain's must let it in."
  value       = aws_security_group.worker.id
}

output "dashboard_name" {
  description = "The dashboard in CloudWatch."
  value       = aws_cloudwatch_dashboard.worker.dashboard_name
}

output "image_role_arn" {
  description = "Secret AWS_ROLE_ARN of the GitHub environment ami-build; null without github_repository."
  value       = one([for name, role in aws_iam_role.github : role.arn if name == "ami-build"])
}

output "deploy_role_arn" {
  description = "Secret AWS_ROLE_ARN of the GitHub environment production; null without github_repository."
  value       = one([for name, role in aws_iam_role.github : role.arn if name == "production"])
}
