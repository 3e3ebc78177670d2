# What changes with the variables. Run with -var-file=terraform.tfvars.example.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "password_by_parameter" {
  variables {
    opensearch_domain_arn         = null
    opensearch_username           = "file-processor"
    opensearch_password_parameter = "/file-processor/opensearch-password"
  }
  assert {
    condition     = local.settings.OPENSEARCH_PASSWORD_PARAMETER == "/file-processor/opensearch-password" && !contains(keys(local.settings), "OPENSEARCH_PASSWORD")
    error_message = "instances get the parameter's name, never the password"
  }
  assert {
    condition = one([for s in data.aws_iam_policy_document.worker.statement : s.resources if s.sid == "IndexPassword"]) == toset([
      "arn:aws:ssm:ap-northeast-1:123456789012:parameter/file-processor/opensearch-password"
    ])
    error_message = "that one parameter may be read"
  }
  assert {
    condition     = !contains(data.aws_iam_policy_document.worker.statement[*].sid, "Index")
    error_message = "with a password the role needs no rights on the domain"
  }
}

run "own_key" {
  variables {
    kms_key_arn        = "arn:aws:kms:ap-northeast-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    source_kms_key_arn = "arn:aws:kms:ap-northeast-1:123456789012:key/99999999-2222-3333-4444-555555555555"
  }
  assert {
    condition = alltrue([
      aws_sqs_queue.files.kms_master_key_id == var.kms_key_arn, aws_sqs_queue.dead_letters.kms_master_key_id == var.kms_key_arn,
      aws_launch_template.worker.block_device_mappings[0].ebs[0].kms_key_id == var.kms_key_arn,
      aws_cloudwatch_log_group.worker.kms_key_id == var.kms_key_arn,
      one(one(aws_s3_bucket_server_side_encryption_configuration.thumbnails[0].rule).apply_server_side_encryption_by_default).sse_algorithm == "aws:kms",
    ])
    error_message = "queues, volumes, logs and thumbnails use the key"
  }
  assert {
    condition     = one([for s in data.aws_iam_policy_document.worker.statement : s.resources if s.sid == "Keys"]) == toset([var.kms_key_arn, var.source_kms_key_arn])
    error_message = "the worker may use both keys"
  }
}

run "serverless" {
  variables {
    opensearch_endpoint       = "https://abc.ap-northeast-1.aoss.amazonaws.com"
    opensearch_domain_arn     = null
    opensearch_collection_arn = "arn:aws:aoss:ap-northeast-1:123456789012:collection/abc"
  }
  assert {
    condition     = one([for s in data.aws_iam_policy_document.worker.statement : s.actions if s.sid == "ServerlessIndex"]) == toset(["aoss:APIAccessAll"])
    error_message = "the collection's only action"
  }
}

run "existing_buckets_and_operators_elsewhere" {
  variables {
    create_thumbnail_bucket     = false
    operators_work_on_instances = false
    source_key_prefixes         = ["documents/", "docuworks-converted/"]
    opensearch_endpoint         = "https://search.internal:9200"
  }
  assert {
    condition     = length(aws_s3_bucket.thumbnails) + length(aws_s3_bucket_policy.thumbnails) + length(aws_s3_bucket_notification.source) == 0
    error_message = "buckets that exist are left alone"
  }
  assert {
    condition     = length(aws_iam_role_policy_attachment.operator) == 0
    error_message = "instances may not look into the dead-letter queue"
  }
  assert {
    condition     = jsondecode(aws_cloudwatch_event_rule.created.event_pattern).detail.object.key == [{ prefix = "documents/" }, { prefix = "docuworks-converted/" }]
    error_message = "only these folders become messages"
  }
  assert {
    condition     = toset([for rule in aws_vpc_security_group_egress_rule.worker : rule.to_port]) == toset([443, 9200])
    error_message = "the cluster's port is open too"
  }
}

run "values_that_look_like_code" {
  variables {
    worker_environment = {
      OCR_LANGUAGE = "jpn+eng"
      TEMP_DIR     = "/var/「道 路」/$HOME `id` \"quoted\" \\ # 'x' $${y} %%{z}"
    }
  }
  assert {
    condition = strcontains(yamldecode(base64decode(regex(
      "settings.yaml\"\\n\\n([A-Za-z0-9+/=]+)\\n", base64decode(aws_launch_template.worker.user_data)
    )[0])).write_files[0].content, "TEMP_DIR=/var/「道 路」/$HOME `id` \"quoted\" \\ # 'x' $${y} %%{z}\n")
    error_message = "they arrive letter by letter"
  }
}

run "a_newer_image_than_ami_id" {
  override_data {
    target = data.aws_ami_ids.worker
    values = { ids = ["ami-0fedcba9876543210", "ami-0123456789abcdef0"] }
  }
  expect_failures = [check.ami_id]
}

run "the_newest_image" {
  override_data {
    target = data.aws_ami_ids.worker
    values = { ids = ["ami-0123456789abcdef0", "ami-0fedcba9876543210"] }
  }
}
