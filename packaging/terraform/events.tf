# S3 tells EventBridge, EventBridge tells the queue.

locals {
  event_object = length(var.source_key_prefixes) == 0 ? {} : {
    object = { key = [for prefix in var.source_key_prefixes : { prefix = prefix }] }
  }
  event_detail = merge({ bucket = { name = [var.source_bucket] } }, local.event_object)

  # Written by hand: jsonencode would turn < and > into escapes, and EventBridge would find no variables. Without quotes
  # around a variable EventBridge puts in the JSON value, so that quotes and backslashes in keys stay right.
  created_message = join("", [
    "{\"eventType\":\"S3_OBJECT_CREATED\",\"s3Bucket\":<bucket>,\"s3Key\":<key>,\"fileSize\":<size>,",
    "\"etag\":<etag>,\"eventTime\":<time>,\"processingRequired\":true}",
  ])
}

resource "aws_cloudwatch_event_rule" "created" {
  name        = "${var.name_prefix}-object-created"
  description = "Objects put into ${var.source_bucket}, to the worker's queue"
  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Created"]
    detail        = local.event_detail
  })
}

resource "aws_cloudwatch_event_target" "created" {
  rule      = aws_cloudwatch_event_rule.created.name
  target_id = "queue"
  arn       = aws_sqs_queue.files.arn

  input_transformer {
    input_paths = {
      bucket = "$.detail.bucket.name"
      key    = "$.detail.object.key"
      size   = "$.detail.object.size"
      etag   = "$.detail.object.etag"
      time   = "$.time"
    }
    input_template = local.created_message
  }
  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}

# The transformed message knows creations only; these go as they are.
resource "aws_cloudwatch_event_rule" "changed_otherwise" {
  name        = "${var.name_prefix}-object-changed"
  description = "Objects removed from ${var.source_bucket} or restored, to the worker's queue"
  event_pattern = jsonencode({
    source        = ["aws.s3"]
    "detail-type" = ["Object Deleted", "Object Restore Completed"]
    detail        = local.event_detail
  })
}

resource "aws_cloudwatch_event_target" "changed_otherwise" {
  rule      = aws_cloudwatch_event_rule.changed_otherwise.name
  target_id = "queue"
  arn       = aws_sqs_queue.files.arn
  dead_letter_config {
    arn = aws_sqs_queue.dead_letters.arn
  }
}

resource "aws_s3_bucket_notification" "source" {
  count       = var.manage_source_bucket_notification ? 1 : 0
  bucket      = var.source_bucket
  eventbridge = true
}
