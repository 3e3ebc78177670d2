# Streams: {instance-id} and {instance-id}-userdata, made by the agent.

resource "aws_cloudwatch_log_group" "worker" {
  #checkov:skip=CKV_AWS_338:30 days are the operators' choice; log_retention_days changes it
  #checkov:skip=CKV_AWS_158:encrypted by CloudWatch's own key unless kms_key_arn is given
  name              = var.log_group_name
  retention_in_days = var.log_retention_days
  kms_key_id        = var.kms_key_arn
}
