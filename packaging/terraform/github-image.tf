# What Packer's builder amazon-ebs calls for packaging/packer, connected through Session Manager: no port is opened, no
# disk is attached, nothing is copied. What it makes carries the tags of run_tags, and only that may it take away.

data "aws_iam_policy_document" "image" {
  statement {
    sid = "Look"
    actions = [
      "ec2:DescribeImages", "ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:DescribeRegions",
      "ec2:DescribeSecurityGroups", "ec2:DescribeSnapshots", "ec2:DescribeSubnets", "ec2:DescribeVolumes", "ec2:DescribeVpcs",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "Builder"
    actions   = ["ec2:RunInstances"]
    resources = [local.ec2_arns.instance]
    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/Name"
      values   = [local.builder_name]
    }
  }
  statement {
    sid     = "PartsOfTheBuilder"
    actions = ["ec2:RunInstances"]
    resources = concat(local.image_arns, local.snapshot_arns, [
      for kind in ["volume", "network-interface", "security-group", "key-pair", "subnet"] : local.ec2_arns[kind]
    ])
  }
  statement {
    sid       = "RoleOfTheBuilder"
    actions   = ["iam:PassRole"]
    resources = [local.builder_role_arn]
    condition {
      test     = "StringEquals"
      variable = "iam:PassedToService"
      values   = ["ec2.amazonaws.com"]
    }
  }
  statement {
    sid       = "ProfileOfTheBuilder"
    actions   = ["iam:GetInstanceProfile"]
    resources = ["${local.arn_prefix}:iam::${local.account_id}:instance-profile/${var.builder_role_name}"]
  }
  # A key and a security group for the time of the build.
  statement {
    sid       = "TemporaryKey"
    actions   = ["ec2:CreateKeyPair", "ec2:DeleteKeyPair"]
    resources = ["${local.ec2_arn_prefix}:${local.account_id}:key-pair/packer_*"]
  }
  statement {
    sid       = "TemporarySecurityGroup"
    actions   = ["ec2:CreateSecurityGroup"]
    resources = [local.ec2_arns["security-group"], local.ec2_arns.vpc]
  }
  statement {
    sid     = "TagsFromTheBeginning"
    actions = ["ec2:CreateTags"]
    resources = concat(local.image_arns, local.snapshot_arns, [
      for kind in ["instance", "volume", "security-group", "key-pair"] : local.ec2_arns[kind]
    ])
    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances", "CreateKeyPair", "CreateSecurityGroup", "CreateImage"]
    }
  }

  statement {
    sid       = "ThroughSessionManager"
    actions   = ["ssm:StartSession", "ssm:GetConnectionStatus"]
    resources = [local.ec2_arns.instance]
    condition {
      test     = "StringEquals"
      variable = "ssm:resourceTag/Name"
      values   = [local.builder_name]
    }
  }
  statement {
    sid       = "AsATunnel"
    actions   = ["ssm:StartSession"]
    resources = ["${local.arn_prefix}:ssm:${var.aws_region}::document/AWS-StartPortForwardingSession"]
  }
  statement {
    sid       = "OwnSessions"
    actions   = ["ssm:TerminateSession", "ssmmessages:OpenDataChannel"]
    resources = ["${local.arn_prefix}:ssm:${var.aws_region}:${local.account_id}:session/$${aws:userid}-*"]
  }

  statement {
    sid       = "Image"
    actions   = ["ec2:CreateImage"]
    resources = concat(local.image_arns, local.snapshot_arns)
  }
  statement {
    sid       = "OfTheBuilderOnly"
    actions   = ["ec2:CreateImage", "ec2:TerminateInstances", "ec2:DeleteVolume", "ec2:DeleteSecurityGroup"]
    resources = [local.ec2_arns.instance, local.ec2_arns.volume, local.ec2_arns["security-group"]]
    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/Name"
      values   = [local.builder_name]
    }
  }
  # It first has the builder's tags, then its own; one that cannot be finished is removed.
  statement {
    sid       = "FinishedImage"
    actions   = ["ec2:CreateTags", "ec2:ModifyImageAttribute", "ec2:DeregisterImage", "ec2:DeleteSnapshot"]
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
      sid = "KeyOfTheVolume"
      actions = [
        "kms:DescribeKey", "kms:Decrypt", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo",
      ]
      resources = [var.kms_key_arn]
    }
  }
  dynamic "statement" {
    for_each = var.kms_key_arn == null ? [] : [1]
    content {
      sid       = "KeyForTheVolumesInstance"
      actions   = ["kms:CreateGrant"]
      resources = [var.kms_key_arn]
      condition {
        test     = "Bool"
        variable = "kms:GrantIsForAWSResource"
        values   = ["true"]
      }
    }
  }
}
