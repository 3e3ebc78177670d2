# The thumbnails' bucket, with the pages of unfinished documents beside them. Everything in it can be made again.

resource "aws_s3_bucket" "thumbnails" {
  #checkov:skip=CKV_AWS_18:access logs of thumbnails would cost more than the thumbnails
  #checkov:skip=CKV_AWS_21:thumbnails are made again by reading the file once more; old versions would only cost
  #checkov:skip=CKV_AWS_144:what can be made again needs no second region
  #checkov:skip=CKV_AWS_145:SSE-S3 unless kms_key_arn is given
  #checkov:skip=CKV2_AWS_62:nobody waits for events of this bucket
  count         = var.create_thumbnail_bucket ? 1 : 0
  bucket        = var.thumbnail_bucket
  force_destroy = var.force_destroy_thumbnails
}

resource "aws_s3_bucket_public_access_block" "thumbnails" {
  count                   = var.create_thumbnail_bucket ? 1 : 0
  bucket                  = aws_s3_bucket.thumbnails[0].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "thumbnails" {
  count  = var.create_thumbnail_bucket ? 1 : 0
  bucket = aws_s3_bucket.thumbnails[0].id
  rule {
    bucket_key_enabled = var.kms_key_arn != null
    apply_server_side_encryption_by_default {
      sse_algorithm     = var.kms_key_arn == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "thumbnails" {
  count  = var.create_thumbnail_bucket ? 1 : 0
  bucket = aws_s3_bucket.thumbnails[0].id

  # The worker forgets them itself after CHECKPOINT_DAYS (7); this is for the case that no worker runs. The longest
  # CHECKPOINT_DAYS is a year.
  rule {
    id     = "forgotten-checkpoints"
    status = "Enabled"
    filter {
      prefix = "thumbnails/checkpoints/"
    }
    expiration {
      days = 400
    }
  }
  rule {
    id     = "unfinished-uploads"
    status = "Enabled"
    filter {}
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

data "aws_iam_policy_document" "thumbnail_bucket" {
  statement {
    sid       = "OnlyEncryptedConnections"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [local.thumbnail_bucket_arn, "${local.thumbnail_bucket_arn}/*"]
    principals {
      type        = "AWS"
      identifiers = ["*"]
    }
    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "thumbnails" {
  count  = var.create_thumbnail_bucket ? 1 : 0
  bucket = aws_s3_bucket.thumbnails[0].id
  policy = data.aws_iam_policy_document.thumbnail_bucket.json
  # Both change the bucket's policy state; one after the other.
  depends_on = [aws_s3_bucket_public_access_block.thumbnails]
}
