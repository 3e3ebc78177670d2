# The worker's fleet and everything it needs that is not there before: the source bucket, the search domain and the
# network are given by variables. Copy terraform.tfvars.example to terraform.tfvars, then init, plan, apply.
#
# State is local unless a backend is configured: put a file backend.tf beside this one.

terraform {
  required_version = ">= 1.11.0, < 2.0.0"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100.0, < 6.0.0"
    }
  }
}

provider "aws" {
  region = var.aws_region
  default_tags {
    tags = local.tags
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  arn_prefix = "arn:${local.partition}"

  tags = merge(var.additional_tags, {
    Environment = var.environment
    Application = "file-processor"
    GitCommit   = var.git_commit
  })

  source_bucket_arn    = "${local.arn_prefix}:s3:::${var.source_bucket}"
  thumbnail_bucket_arn = "${local.arn_prefix}:s3:::${var.thumbnail_bucket}"
}
