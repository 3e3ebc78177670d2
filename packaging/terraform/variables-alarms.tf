# When somebody is told.

variable "alarm_topic_arns" {
  description = "SNS topics that alarms, and their end, are sent to."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for arn in var.alarm_topic_arns : can(regex("^arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_-]+$", arn))])
    error_message = "alarm_topic_arns are ARNs of SNS topics."
  }
}

variable "alarm_queue_depth" {
  description = "Visible messages above which the emergency policy adds instances."
  type        = number
  default     = 500
  validation {
    condition     = var.alarm_queue_depth >= 1
    error_message = "alarm_queue_depth is 1 or more."
  }
}

variable "alarm_message_age_seconds" {
  description = "Age of the oldest message that is too old."
  type        = number
  default     = 1800
  validation {
    condition     = var.alarm_message_age_seconds >= 60
    error_message = "alarm_message_age_seconds is 60 or more."
  }
}

variable "alarm_dlq_depth" {
  description = "Messages in the dead-letter queue that somebody should look at."
  type        = number
  default     = 10
  validation {
    condition     = var.alarm_dlq_depth >= 1
    error_message = "alarm_dlq_depth is 1 or more."
  }
}

variable "alarm_in_flight" {
  description = "Messages in flight that are near the queue's limit of about 120,000, beyond which receives stay empty without an error."
  type        = number
  default     = 100000
  validation {
    condition     = var.alarm_in_flight >= 1 && var.alarm_in_flight < 120000
    error_message = "alarm_in_flight is 1 to 119999."
  }
}

variable "alarm_no_progress_minutes" {
  description = "Minutes in which messages wait and none is finished. One long document alone may take PROCESSING_TIMEOUT_TOTAL."
  type        = number
  default     = 30
  validation {
    condition     = var.alarm_no_progress_minutes >= 10 && var.alarm_no_progress_minutes <= 1440 && var.alarm_no_progress_minutes % 5 == 0
    error_message = "alarm_no_progress_minutes is 10 to 1440, in steps of 5."
  }
}

variable "alarm_errors" {
  description = "Lines of level ERROR within 5 minutes that somebody should look at."
  type        = number
  default     = 1
  validation {
    condition     = var.alarm_errors >= 1
    error_message = "alarm_errors is 1 or more."
  }
}

variable "alarm_refresh_dead_letters" {
  description = "Messages that workers copy to the dead-letter queue within 5 minutes during an instance refresh before it is rolled back."
  type        = number
  default     = 10
  validation {
    condition     = var.alarm_refresh_dead_letters >= 1
    error_message = "alarm_refresh_dead_letters is 1 or more."
  }
}
