# One instance, from image to the first start of the service.

locals {
  # What scripts/user-data.sh makes /etc/file-processor/env of. Names that do not begin as the worker's are for the
  # script itself: LAUNCH_HOOK_NAME, OPENSEARCH_PASSWORD_PARAMETER. The group's name it asks of the instance, since a
  # blue/green deployment starts this template in a group of another name.
  settings = merge(
    {
      AWS_REGION             = var.aws_region
      SQS_QUEUE_URL          = aws_sqs_queue.files.url
      DLQ_QUEUE_URL          = aws_sqs_queue.dead_letters.url
      SQS_VISIBILITY_TIMEOUT = tostring(var.visibility_timeout_seconds)
      S3_BUCKET              = var.source_bucket
      S3_THUMBNAIL_BUCKET    = var.thumbnail_bucket
      OPENSEARCH_ENDPOINT    = var.opensearch_endpoint
      OPENSEARCH_INDEX       = var.opensearch_index
      LOG_LEVEL              = var.log_level
      CLOUDWATCH_LOG_GROUP   = aws_cloudwatch_log_group.worker.name
      LIFECYCLE_HOOK_NAME    = local.termination_hook_name
      LAUNCH_HOOK_NAME       = local.launch_hook_name
    },
    var.opensearch_username == null ? {} : {
      OPENSEARCH_USERNAME           = var.opensearch_username
      OPENSEARCH_PASSWORD_PARAMETER = var.opensearch_password_parameter
    },
    var.worker_environment,
  )

  cloud_config = {
    write_files = [{
      path        = "/run/file-processor/settings"
      owner       = "root:root"
      permissions = "0600"
      content     = join("", [for name, value in local.settings : "${name}=${value}\n"])
    }]
  }

  user_data = templatefile("${path.module}/user-data.mime.tftpl", {
    cloud_config_base64 = base64encode("#cloud-config\n${yamlencode(local.cloud_config)}")
    # Without its comments: EC2 takes 16,384 bytes.
    script = replace(file("${path.module}/../../scripts/user-data.sh"), "/(?m)^ *#([^!\\n][^\\n]*)?\\n/", "")
  })
}

resource "aws_launch_template" "worker" {
  name          = var.launch_template_name
  description   = "File processor worker"
  image_id      = var.ami_id
  instance_type = var.instance_types[0]
  key_name      = var.key_pair_name
  ebs_optimized = true
  user_data     = base64encode(local.user_data)
  # The default version stays as it is: scripts/deploy-new-ami.sh changes it after a deployment has succeeded. The group
  # names a version of its own.

  vpc_security_group_ids = [aws_security_group.worker.id]

  iam_instance_profile {
    arn = aws_iam_instance_profile.worker.arn
  }

  monitoring {
    enabled = true
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    # How an instance learns its group's name without a permission.
    instance_metadata_tags = "enabled"
  }

  block_device_mappings {
    device_name = "/dev/xvda"
    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_volume_gb
      iops                  = 3000
      throughput            = 125
      encrypted             = true
      kms_key_id            = var.kms_key_arn
      delete_on_termination = true
    }
  }

  dynamic "tag_specifications" {
    for_each = toset(["instance", "volume", "network-interface"])
    content {
      resource_type = tag_specifications.value
      tags          = merge(local.tags, { Name = "python-worker", ManagedBy = "AutoScaling" })
    }
  }

  lifecycle {
    # deploy-new-ami.sh writes there what its version replaces. To set that right would be a version more, and with it
    # another replacement of the fleet.
    ignore_changes = [description]
    precondition {
      condition     = length(local.user_data) <= 16384
      error_message = "User data is over the 16,384 bytes that EC2 takes: shorten worker_environment."
    }
  }
}

# Newest first. Outside of the check: a data source within one would make every plan end as if something changed.
data "aws_ami_ids" "worker" {
  owners = ["self"]
  filter {
    name   = "tag:Application"
    values = ["file-processor"]
  }
}

# Scripts and the workflow deploy without Terraform; with an older ami_id an apply would undo that. A warning, no more: the
# newest image need not be the one that is deployed.
check "ami_id" {
  assert {
    condition     = try(data.aws_ami_ids.worker.ids[0], var.ami_id) == var.ami_id
    error_message = "${try(data.aws_ami_ids.worker.ids[0], "")} is newer than ami_id (${var.ami_id}). If it was deployed, an apply goes back to the old one: set ami_id first."
  }
}
