# What the worker works on.

variable "source_bucket" {
  description = "The bucket of source files (S3_BUCKET). It exists already."
  type        = string
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.source_bucket))
    error_message = "source_bucket is a bucket's name, without s3://."
  }
}

variable "source_key_prefixes" {
  description = "Only objects whose keys begin with one of these become messages; all, when empty."
  type        = list(string)
  default     = []
}

variable "manage_source_bucket_notification" {
  description = "Whether to switch on the source bucket's EventBridge notifications. Replaces whatever notifications the bucket has: only when it has none of its own."
  type        = bool
  default     = false
}

variable "thumbnail_bucket" {
  description = "The bucket of thumbnails and checkpoints (S3_THUMBNAIL_BUCKET)."
  type        = string
  default     = "cis-filesearch-s3-thumbnail"
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$", var.thumbnail_bucket)) && var.thumbnail_bucket != var.source_bucket
    error_message = "thumbnail_bucket is a bucket's name, without s3://, and not that of the source files."
  }
}

variable "create_thumbnail_bucket" {
  description = "Whether the thumbnails' bucket is made here. False where it exists already."
  type        = bool
  default     = true
}

variable "force_destroy_thumbnails" {
  description = "Whether a destroy also removes a thumbnails' bucket that holds objects."
  type        = bool
  default     = false
}

variable "queue_name" {
  description = "Name of the queue; that of the dead-letter queue is the same with -dlq."
  type        = string
  default     = "file-processing-queue"
  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{1,76}$", var.queue_name))
    error_message = "queue_name is 1 to 76 letters, digits, dashes or underscores; FIFO queues are not supported."
  }
}

variable "visibility_timeout_seconds" {
  description = "The queue's visibility timeout and the worker's SQS_VISIBILITY_TIMEOUT: a lease, prolonged at half-time."
  type        = number
  default     = 600
  validation {
    condition     = var.visibility_timeout_seconds >= 60 && var.visibility_timeout_seconds <= 43200
    error_message = "visibility_timeout_seconds is 60 to 43200."
  }
}

variable "max_receive_count" {
  description = "Receives before the queue itself moves a message to the dead-letter queue. Giving a message back counts as one, and spot instances give back often."
  type        = number
  default     = 10
  validation {
    condition     = var.max_receive_count >= 5 && var.max_receive_count <= 1000
    error_message = "max_receive_count is 5 to 1000: with less, interruptions alone would dead-letter good files."
  }
}

variable "opensearch_endpoint" {
  description = "URL of the search domain (OPENSEARCH_ENDPOINT)."
  type        = string
  validation {
    condition     = can(regex("^https?://[^/?#[:space:]@]+/?$", var.opensearch_endpoint))
    error_message = "opensearch_endpoint is a URL such as https://search-files.ap-northeast-1.es.amazonaws.com, without path or user."
  }
}

variable "opensearch_index" {
  description = "The index that documents are written to (OPENSEARCH_INDEX)."
  type        = string
  default     = "cis-files-v2"
  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._+-]{0,199}$", var.opensearch_index))
    error_message = "opensearch_index is lower-case letters, digits and . _ + -, 200 at most."
  }
}

variable "opensearch_domain_arn" {
  description = "ARN of the OpenSearch Service domain whose index the role may use; null where basic authentication or Serverless is used."
  type        = string
  default     = null
  validation {
    condition     = var.opensearch_domain_arn == null || can(regex("^arn:[a-z-]+:es:[a-z0-9-]+:[0-9]{12}:domain/[a-z0-9-]+$", var.opensearch_domain_arn))
    error_message = "opensearch_domain_arn is arn:aws:es:REGION:ACCOUNT:domain/NAME."
  }
}

variable "opensearch_collection_arn" {
  description = "ARN of the OpenSearch Serverless collection, if that is used. Its data access policy must name the role too (output worker_role_arn)."
  type        = string
  default     = null
  validation {
    condition     = var.opensearch_collection_arn == null || can(regex("^arn:[a-z-]+:aoss:[a-z0-9-]+:[0-9]{12}:collection/[a-z0-9]+$", var.opensearch_collection_arn))
    error_message = "opensearch_collection_arn is arn:aws:aoss:REGION:ACCOUNT:collection/ID."
  }
}

variable "opensearch_username" {
  description = "User for basic authentication; null for requests signed with the instance's role."
  type        = string
  default     = null
  validation {
    condition     = (var.opensearch_username == null) == (var.opensearch_password_parameter == null)
    error_message = "opensearch_username and opensearch_password_parameter are given together or not at all."
  }
}

variable "opensearch_password_parameter" {
  description = "Name of the SSM SecureString parameter that holds OPENSEARCH_PASSWORD. Instances read it when they start; it stands neither in user data nor in Terraform's state."
  type        = string
  default     = null
  validation {
    condition     = var.opensearch_password_parameter == null || can(regex("^/[a-zA-Z0-9_./-]{1,1000}$", var.opensearch_password_parameter))
    error_message = "opensearch_password_parameter is a parameter's full name that begins with /."
  }
}

variable "log_level" {
  description = "Least severe level that is logged (LOG_LEVEL)."
  type        = string
  default     = "INFO"
  validation {
    condition     = contains(["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], var.log_level)
    error_message = "log_level is TRACE, DEBUG, INFO, WARNING, ERROR or CRITICAL."
  }
}

variable "worker_environment" {
  description = "Further variables of the worker, such as { MAX_PDF_PAGES = \"2000\" }; `file-processor-worker config --help` lists them. Not for secrets: user data can be read by many."
  type        = map(string)
  default     = {}
  validation {
    condition     = alltrue([for name in keys(var.worker_environment) : can(regex("^[A-Z_][A-Z0-9_]*$", name))])
    error_message = "Names in worker_environment are upper-case letters, digits and underscores."
  }
  validation {
    condition     = alltrue([for value in values(var.worker_environment) : !can(regex("[[:cntrl:]]", value))])
    error_message = "Values in worker_environment are one line without control characters."
  }
  validation {
    condition     = !contains(keys(var.worker_environment), "OPENSEARCH_PASSWORD")
    error_message = "worker_environment holds OPENSEARCH_PASSWORD: put it into a SecureString parameter and name that in opensearch_password_parameter."
  }
}

variable "log_group_name" {
  description = "CloudWatch log group of the fleet."
  type        = string
  default     = "/aws/ec2/file-processor"
  validation {
    condition     = can(regex("^[a-zA-Z0-9_./#-]{1,512}$", var.log_group_name))
    error_message = "log_group_name is 1 to 512 letters, digits or _ . / # -."
  }
}

variable "log_retention_days" {
  description = "Days that logs are kept."
  type        = number
  default     = 30
  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days is one of the periods that CloudWatch knows, such as 30."
  }
}

variable "kms_key_arn" {
  description = "Customer-managed key for volumes, queues, thumbnails and logs; null for AWS's own keys. Its policy must allow the services events, s3, logs and autoscaling to use it. Also the key of the source bucket, where that is the same."
  type        = string
  default     = null
  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-zA-Z-]+$", var.kms_key_arn))
    error_message = "kms_key_arn is arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "source_kms_key_arn" {
  description = "Key that the source bucket's objects are encrypted with, if it is another one."
  type        = string
  default     = null
  validation {
    condition     = var.source_kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-zA-Z-]+$", var.source_kms_key_arn))
    error_message = "source_kms_key_arn is arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "operators_work_on_instances" {
  description = "Whether the instances' role may also look into and move the dead-letter queue, as an operator does in a session with aws sqs start-message-move-task. Else only the policy operator_policy_arn does."
  type        = bool
  default     = true
}
