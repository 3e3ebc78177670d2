# What the workflow build-and-deploy-ami.yml may do: one role for each of its two environments, taken by GitHub's own
# tokens (OIDC), so that no key is kept anywhere. Nothing of it exists without github_repository.

locals {
  github_issuer = "token.actions.githubusercontent.com"

  # By the name of the job's environment in the workflow, which is part of what GitHub signs.
  github_roles = var.github_repository == null ? {} : {
    ami-build  = { name = "image", does = "Builds images of the worker", policy = data.aws_iam_policy_document.image.json }
    production = { name = "deploy", does = "Deploys images of the worker", policy = data.aws_iam_policy_document.deploy.json }
  }
  github_provider_arn = var.github_oidc_provider_arn != null ? var.github_oidc_provider_arn : one(aws_iam_openid_connect_provider.github[*].arn)

  # Every ARN of EC2 but those of images and snapshots has the account in it.
  ec2_kinds = [
    "instance", "volume", "network-interface", "security-group", "key-pair", "subnet", "vpc", "spot-instances-request",
  ]
  ec2_arn_prefix   = "${local.arn_prefix}:ec2:${var.aws_region}"
  ec2_arns         = { for kind in local.ec2_kinds : kind => "${local.ec2_arn_prefix}:${local.account_id}:${kind}/*" }
  image_arns       = ["${local.ec2_arn_prefix}::image/*", "${local.ec2_arn_prefix}:${local.account_id}:image/*"]
  snapshot_arns    = ["${local.ec2_arn_prefix}::snapshot/*", "${local.ec2_arn_prefix}:${local.account_id}:snapshot/*"]
  alarm_arn_prefix = "${local.arn_prefix}:cloudwatch:${var.aws_region}:${local.account_id}:alarm"
  builder_role_arn = "${local.arn_prefix}:iam::${local.account_id}:role/${var.builder_role_name}"
  # The tag Name of the builder and of what Packer makes for it (run_tags in packaging/packer).
  builder_name = "file-processor-ami-builder"
}

resource "aws_iam_openid_connect_provider" "github" {
  count          = var.github_repository != null && var.github_oidc_provider_arn == null ? 1 : 0
  url            = "https://${local.github_issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

data "aws_iam_policy_document" "github_assume" {
  for_each = toset(keys(local.github_roles))
  statement {
    actions = ["sts:AssumeRoleWithWebIdentity"]
    principals {
      type        = "Federated"
      identifiers = [local.github_provider_arn]
    }
    condition {
      test     = "StringEquals"
      variable = "${local.github_issuer}:aud"
      values   = ["sts.amazonaws.com"]
    }
    # Only a job of this environment; who may use the environment, and from which branch, is set in GitHub.
    condition {
      test     = "StringEquals"
      variable = "${local.github_issuer}:sub"
      values   = ["repo:${var.github_repository}:environment:${each.key}"]
    }
  }
}

resource "aws_iam_role" "github" {
  for_each             = local.github_roles
  name                 = "${var.name_prefix}-${each.value.name}-role"
  description          = each.value.does
  assume_role_policy   = data.aws_iam_policy_document.github_assume[each.key].json
  max_session_duration = 7200 # role-duration-seconds of the workflow
}

resource "aws_iam_role_policy" "github" {
  for_each = local.github_roles
  name     = "${var.name_prefix}-${each.value.name}-policy"
  role     = aws_iam_role.github[each.key].id
  policy   = each.value.policy
}

# scripts/deploy-new-ami.sh, blue-green-deploy.sh and prune-amis.sh, call by call.
data "aws_iam_policy_document" "deploy" {
  statement {
    sid = "Look"
    actions = [
      "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeLifecycleHooks",
      "autoscaling:DescribePolicies", "autoscaling:DescribeScalingActivities", "autoscaling:DescribeScheduledActions",
      "cloudwatch:DescribeAlarmsForMetric",
      "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeLaunchTemplateVersions", "ec2:DescribeSnapshots",
    ]
    resources = ["*"]
  }
  statement {
    sid       = "TemplateVersions"
    actions   = ["ec2:CreateLaunchTemplateVersion", "ec2:ModifyLaunchTemplate"]
    resources = [aws_launch_template.worker.arn]
  }
  # The group and its other colour.
  statement {
    sid = "Groups"
    actions = [
      "autoscaling:StartInstanceRefresh", "autoscaling:RollbackInstanceRefresh",
      "autoscaling:CreateAutoScalingGroup", "autoscaling:UpdateAutoScalingGroup", "autoscaling:CreateOrUpdateTags",
      "autoscaling:PutLifecycleHook", "autoscaling:EnableMetricsCollection", "autoscaling:PutScalingPolicy",
      "autoscaling:PutScheduledUpdateGroupAction", "autoscaling:SuspendProcesses", "autoscaling:ResumeProcesses",
    ]
    resources = ["${local.autoscaling_arn_prefix}/${var.asg_name}", "${local.autoscaling_arn_prefix}/${var.asg_name}-green"]
  }
  statement {
    sid       = "Alarms"
    actions   = ["cloudwatch:DescribeAlarms"]
    resources = ["${local.alarm_arn_prefix}:*"]
  }
  statement {
    sid       = "AlarmsOfTheOtherColour"
    actions   = ["cloudwatch:PutMetricAlarm"]
    resources = ["${local.alarm_arn_prefix}:${var.name_prefix}-*"]
  }
  # No script calls the next three: whoever gives a template to a group has to be allowed to start its instances.
  statement {
    sid       = "InstancesOfTheTemplate"
    actions   = ["ec2:RunInstances"]
    resources = concat(values(local.ec2_arns), local.image_arns, local.snapshot_arns, [aws_launch_template.worker.arn])
    condition {
      test     = "ArnEquals"
      variable = "ec2:LaunchTemplate"
      values   = [aws_launch_template.worker.arn]
    }
  }
  statement {
    sid       = "TagsOfInstances"
    actions   = ["ec2:CreateTags"]
    resources = [local.ec2_arns.instance, local.ec2_arns.volume, local.ec2_arns["network-interface"]]
    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }
  }
  statement {
    sid       = "RoleOfInstances"
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.worker.arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }
  statement {
    sid       = "SmokeTest"
    actions   = ["sqs:SendMessage", "sqs:GetQueueAttributes"]
    resources = [aws_sqs_queue.files.arn]
  }
  statement {
    sid       = "ItsAnswer"
    actions   = ["logs:FilterLogEvents", "logs:DescribeLogStreams", "logs:GetLogEvents"]
    resources = ["${aws_cloudwatch_log_group.worker.arn}:*"]
  }
  statement {
    sid       = "OldImages"
    actions   = ["ec2:DeregisterImage", "ec2:DeleteSnapshot"]
    resources = concat(local.image_arns, local.snapshot_arns)
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Application"
      values   = ["file-processor"]
    }
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [1]
    content {
      sid       = "KeyOfTheQueue"
      actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
      resources = [var.kms_key_arn]
    }
  }
}
