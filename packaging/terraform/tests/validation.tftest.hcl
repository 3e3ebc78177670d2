# Values that AWS would refuse late, or that would not do what they say, are refused at once: every variable of
# expect_failures has to be. Run with -var-file=terraform.tfvars.example.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "refuses_each_of_these" {
  command = plan
  variables {
    additional_tags                = { "cost centre" = "1" }
    ami_id                         = "ami-latest"
    aws_region                     = "Tokyo"
    git_commit                     = "main"
    instance_types                 = ["c5.xlarge", "c7g.xlarge"]
    private_subnet_ids             = []
    egress_cidr_blocks             = ["everywhere"]
    desired_capacity               = 11
    schedules                      = { noon = { recurrence = "at noon", min_size = 1, desired_capacity = 1 } }
    schedule_time_zone             = "JST"
    refresh_max_healthy_percentage = 100
    thumbnail_bucket               = "cis-filesearch-storage"
    max_receive_count              = 3
    opensearch_endpoint            = "https://user:password@search.internal"
    opensearch_username            = "somebody"
    worker_environment             = { OPENSEARCH_PASSWORD = "secret" }
    log_retention_days             = 31
    alarm_in_flight                = 120000
    alarm_no_progress_minutes      = 12
    alarm_errors                   = 0
  }
  expect_failures = [
    var.additional_tags,
    var.ami_id,
    var.aws_region,
    var.git_commit,
    var.instance_types,
    var.private_subnet_ids,
    var.egress_cidr_blocks,
    var.desired_capacity,
    var.schedules,
    var.schedule_time_zone,
    var.refresh_max_healthy_percentage,
    var.thumbnail_bucket,
    var.max_receive_count,
    var.opensearch_endpoint,
    var.opensearch_username,
    var.worker_environment,
    var.log_retention_days,
    var.alarm_in_flight,
    var.alarm_no_progress_minutes,
    var.alarm_errors,
  ]
}

run "refuses_a_schedule_beyond_max_size_and_a_line_break" {
  command = plan
  variables {
    schedules          = { big = { recurrence = "0 12 * * *", min_size = 1, desired_capacity = 99 } }
    worker_environment = { OCR_LANGUAGE = "jpn\nEVIL=1" }
  }
  expect_failures = [
    var.schedules,
    var.worker_environment,
  ]
}

run "refuses_a_name_that_is_none" {
  command = plan
  variables {
    worker_environment = { "ocr language" = "jpn" }
  }
  expect_failures = [
    var.worker_environment,
  ]
}

run "refuses_user_data_that_is_too_long" {
  variables {
    worker_environment = { OCR_LANGUAGE = join("+", [for number in range(1000) : "jpn_vert"]) }
  }
  expect_failures = [aws_launch_template.worker]
}
