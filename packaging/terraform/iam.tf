# What an instance may do, and nothing else.

data "aws_iam_policy_document" "instances_assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "worker" {
  name               = "${var.name_prefix}-worker-role"
  description        = "Instances of ${var.asg_name}"
  assume_role_policy = data.aws_iam_policy_document.instances_assume.json
}

resource "aws_iam_instance_profile" "worker" {
  name = "${var.name_prefix}-worker-profile"
  role = aws_iam_role.worker.name
}

locals {
  # The smoke test has an index of its own.
  opensearch_indexes = [var.opensearch_index, "${var.opensearch_index}-smoke-test"]
  opensearch_resources = var.opensearch_domain_arn == null ? [] : flatten([
    for index in local.opensearch_indexes : ["${var.opensearch_domain_arn}/${index}", "${var.opensearch_domain_arn}/${index}/*"]
  ])

  # A group's ARN holds an id that is not known before. A blue/green deployment names its group with a suffix.
  autoscaling_arn_prefix = "${local.arn_prefix}:autoscaling:${var.aws_region}:${local.account_id}:autoScalingGroup:*:autoScalingGroupName"
  group_arns             = ["${local.autoscaling_arn_prefix}/${var.asg_name}", "${local.autoscaling_arn_prefix}/${var.asg_name}-*"]

  password_parameter_arns = var.opensearch_password_parameter == null ? [] : [
    "${local.arn_prefix}:ssm:${var.aws_region}:${local.account_id}:parameter${var.opensearch_password_parameter}"
  ]
  key_arns = distinct(compact([var.kms_key_arn, var.source_kms_key_arn]))
}

data "aws_iam_policy_document" "worker" {
  #checkov:skip=CKV_AWS_111:"*" stands only where actions know no resources; PutMetricData is held to our namespaces
  #checkov:skip=CKV_AWS_356:as above
  statement {
    sid = "Queue"
    # SendMessage: a message near maxReceiveCount is sent anew, and so is the smoke test's.
    actions = [
      "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
      "sqs:GetQueueAttributes", "sqs:GetQueueUrl", "sqs:SendMessage",
    ]
    resources = [aws_sqs_queue.files.arn]
  }
  statement {
    sid       = "DeadLetters"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.dead_letters.arn]
  }
  statement {
    sid       = "SourceFiles"
    actions   = ["s3:GetObject", "s3:GetObjectVersion"]
    resources = ["${local.source_bucket_arn}/*"]
  }
  statement {
    sid       = "Thumbnails"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
    resources = ["${local.thumbnail_bucket_arn}/*"]
  }
  statement {
    sid = "Buckets"
    # Without ListBucket a missing key is answered 403 instead of 404.
    actions   = ["s3:ListBucket"]
    resources = [local.source_bucket_arn, local.thumbnail_bucket_arn]
  }

  dynamic "statement" {
    for_each = length(local.opensearch_resources) == 0 ? [] : [1]
    content {
      sid       = "Index"
      actions   = ["es:ESHttpGet", "es:ESHttpHead", "es:ESHttpPost", "es:ESHttpPut", "es:ESHttpDelete"]
      resources = local.opensearch_resources
    }
  }
  dynamic "statement" {
    for_each = var.opensearch_collection_arn == null ? [] : [1]
    content {
      sid       = "ServerlessIndex"
      actions   = ["aoss:APIAccessAll"]
      resources = [var.opensearch_collection_arn]
    }
  }
  dynamic "statement" {
    for_each = length(local.password_parameter_arns) == 0 ? [] : [1]
    content {
      sid       = "IndexPassword"
      actions   = ["ssm:GetParameter"]
      resources = local.password_parameter_arns
    }
  }
  dynamic "statement" {
    for_each = length(local.key_arns) == 0 ? [] : [1]
    content {
      sid       = "Keys"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = local.key_arns
    }
  }

  statement {
    sid       = "Logs"
    actions   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogStreams"]
    resources = ["${aws_cloudwatch_log_group.worker.arn}:*"]
  }
  statement {
    sid       = "Metrics"
    actions   = ["cloudwatch:PutMetricData"]
    resources = ["*"] # the action knows no resources
    condition {
      test     = "StringEquals"
      variable = "cloudwatch:namespace"
      values   = ["FileProcessor", "FileProcessor/Worker"]
    }
  }
  statement {
    sid       = "OwnGroup"
    actions   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat", "autoscaling:SetInstanceHealth"]
    resources = local.group_arns
  }
  # Session Manager and Run Command, action by action: the managed policy AmazonSSMManagedInstanceCore would also let
  # every instance read every parameter of the account.
  statement {
    sid = "Sessions"
    actions = [
      "ssm:UpdateInstanceInformation",
      "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
      "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
      "ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage",
      "ec2messages:GetEndpoint", "ec2messages:GetMessages", "ec2messages:SendReply",
    ]
    resources = ["*"] # these actions know no resources
  }
}

resource "aws_iam_role_policy" "worker" {
  name   = "${var.name_prefix}-worker-policy"
  role   = aws_iam_role.worker.id
  policy = data.aws_iam_policy_document.worker.json
}

# For people: to look into the dead-letter queue, and to move its messages back.
data "aws_iam_policy_document" "operator" {
  statement {
    sid = "DeadLetters"
    actions = [
      "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
      "sqs:StartMessageMoveTask", "sqs:ListMessageMoveTasks", "sqs:CancelMessageMoveTask",
    ]
    resources = [aws_sqs_queue.dead_letters.arn]
  }
  # A move is made with the rights of the one who starts it.
  statement {
    sid       = "BackToTheQueue"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
    resources = [aws_sqs_queue.files.arn]
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [1]
    content {
      sid       = "Key"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }
}

resource "aws_iam_policy" "operator" {
  name        = "${var.name_prefix}-operator-policy"
  description = "Look into the dead-letter queue of ${var.queue_name} and move its messages back"
  policy      = data.aws_iam_policy_document.operator.json
}

resource "aws_iam_role_policy_attachment" "operator" {
  count      = var.operators_work_on_instances ? 1 : 0
  role       = aws_iam_role.worker.name
  policy_arn = aws_iam_policy.operator.arn
}
